"""Shares of corpora for the next stage of training, from the losses of a ledger, without a reference model.

The rule is that of Adaptive Data Optimization (ADO): Jiang, Zhou, Feng, Malladi and Kolter, "Adaptive Data Optimization: Dynamic Sample
Selection with Scaling Laws", ICLR 2025, arXiv:2410.11820. A power law L(n) = ε + β·n^−α is fitted to the loss of each corpus after n of its
tokens. Its derivative gives the learning speed, the expected decrease of the loss per token: v = α·(L(n) − ε) / n. The proposed share of a
corpus is proportional to μ·√h·v, where μ is its declared share and h the share that it had of the tokens that were trained on, but not less
than 1 %.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formats.loss_ledger import Ledger
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formatting import counted
from phyagi_assets.inspection.loss_series import Floats
from phyagi_assets.inspection.report import Record

RULE = "Adaptive Data Optimization (ADO), Jiang et al. 2025, arXiv:2410.11820"
FORMULA = "share ∝ μ·√h·v, v = α·(L(n) − ε) / n, where L(n) = ε + β·n^−α is fitted to the loss of a corpus after n of its tokens"
_EXPONENTS = np.linspace(0.05, 0.8, 76)
"""Exponents α that are tried; ADO limits them to 0.8."""
_POINTS, _FEWEST_POINTS = 100, 10
"""Largest and smallest number of points that a power law is fitted to."""
_WARM_UP = 0.1
"""Part of the tokens of a corpus at the beginning that is left out of the fit."""
_SMALLEST = Decimal("0.01")
"""Smallest share."""
_STEP = Decimal("0.0001")
"""Shares are multiples of this number."""


class ProposedShare(Record):
    """The proposed share of a corpus."""

    corpus: str
    declared: float
    """Share of the samples in the current stage, μ."""
    trained: float
    """Share of the tokens that were trained on, h."""
    speed: float
    """Learning speed at the end of the ledger, v: decrease of the loss in nats per billion tokens of the corpus."""
    share: float
    """Proposed share of the samples."""


class Proposal(Record):
    """Shares for the next stage."""

    rule: str = RULE
    formula: str = FORMULA
    corpora: tuple[ProposedShare, ...]
    declaration: str
    """The same as the key `datasets` of a mixture, in YAML."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerLaw:
    """A loss ε + β·n^−α after n tokens."""

    floor: float
    """Loss that is approached, ε."""
    scale: float
    """Factor β."""
    exponent: float
    """Exponent α."""

    @classmethod
    def fitted(cls, tokens: Floats, losses: Floats) -> "PowerLaw":
        """Return the power law with the smallest squared error over points, with ε and β not below 0."""
        found: list[tuple[float, PowerLaw]] = []
        for exponent in _EXPONENTS.tolist():
            powers = tokens**-exponent
            spread = powers - powers.mean()
            scale = max(0.0, float((spread * losses).sum() / (spread**2).sum()))
            floor = float(losses.mean() - scale * powers.mean())
            if floor < 0:
                floor, scale = 0.0, float((powers * losses).sum() / (powers**2).sum())
            error = float(((floor + scale * powers - losses) ** 2).sum())
            found.append((error, cls(floor=floor, scale=scale, exponent=exponent)))
        return min(found, key=lambda each: each[0])[1]

    def speed(self, tokens: float) -> float:
        """Return the decrease of the loss per token after a number of tokens."""
        return self.exponent * self.scale * float(tokens**-self.exponent) / tokens


def propose(ledger: Ledger, plan: Plan) -> Proposal:
    """Propose shares for the corpora of the current stage of a mixture.

    Raises
    ------
    PhyagiAssetsError
        The losses of a corpus are too few, or are not finite, or no loss decreases.
    """
    sources = plan.current.sources
    rates = np.array([source.rate for source in sources], dtype=np.float64)
    declared = rates / rates.sum()
    names = [plan.corpora[source.corpus].name for source in sources]
    tokens, speeds = np.zeros(len(names)), np.zeros(len(names))
    for at, name in enumerate(names):
        tokens[at], speeds[at] = _learning_speed(ledger, name)
    trained = tokens / tokens.sum()
    preference = declared * np.sqrt(trained) * speeds
    if not preference.sum():
        raise PhyagiAssetsError(f"{ledger.folder}: the loss of no corpus decreases, so there is nothing to propose; keep the weights")
    shares = _with_smallest(preference / preference.sum())
    lines = [f"# {RULE}", "datasets:", *(f"  - {{corpus: {name}, share: {share}}}" for name, share in zip(names, shares, strict=True))]
    return Proposal(
        corpora=tuple(
            ProposedShare(corpus=name, declared=float(amount), trained=float(had), speed=float(speed * 1e9), share=float(share))
            for name, amount, had, speed, share in zip(names, declared, trained, speeds, shares, strict=True)
        ),
        declaration="\n".join(lines) + "\n",
    )


def _learning_speed(ledger: Ledger, corpus: str) -> tuple[float, float]:
    """Return the number of tokens of a corpus in a ledger, and its learning speed at the end."""
    rows = ledger.rows
    chosen = rows[rows.corpus == rows.names.index(corpus)] if corpus in rows.names else rows[:0]
    total = int(chosen.tokens.sum())
    after = np.cumsum(chosen.tokens)
    point = np.minimum(_POINTS - 1, _POINTS * (after - chosen.tokens) // max(1, total))
    tokens, losses, ends = (np.bincount(point, values, _POINTS) for values in (chosen.tokens, chosen.loss, chosen.tokens * after))
    is_used = (tokens > 0) & (np.arange(_POINTS) >= _WARM_UP * _POINTS) & np.isfinite(losses)
    points = int(is_used.sum())
    if points < _FEWEST_POINTS:
        raise PhyagiAssetsError(
            f"{ledger.folder}: has {counted(len(chosen), 'row')} of corpus {corpus!r}, which make {counted(points, 'point')} of a curve, "
            f"and the rule needs {_FEWEST_POINTS}; train longer before asking for a proposal"
        )
    law = PowerLaw.fitted(ends[is_used] / tokens[is_used], losses[is_used] / tokens[is_used])
    return float(total), law.speed(float(total))


def _with_smallest(shares: Floats) -> list[Decimal]:
    """Return shares that are not below the smallest one, rounded so that they add up to 1."""
    least = min(_SMALLEST, 1 / Decimal(len(shares)))
    rest = 1 - least * len(shares)
    exact = [least + rest * Decimal(float(share)) for share in shares]
    rounded = [max(_STEP, (share / _STEP).to_integral_value(rounding="ROUND_FLOOR") * _STEP) for share in exact]
    missing = int((1 - sum(rounded)) / _STEP)
    for at in sorted(range(len(exact)), key=lambda at: rounded[at] - exact[at])[: max(0, missing)]:
        rounded[at] += _STEP
    return rounded
