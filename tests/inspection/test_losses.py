"""Shares proposed from losses, and spikes."""

from pathlib import Path

import numpy as np
import pytest

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formats.loss_ledger import LedgerHeader, LossRows, read_ledger, write_part
from phyagi_assets.formats.plan import Plan
from phyagi_assets.inspection.loss_proposal import PowerLaw, Proposal, propose
from tests.order.plans import partitions, plan_of

STEPS = 400


def proposal(folder: Path, plan: Plan, exponents: dict[str, float], steps: int = STEPS) -> Proposal:
    """Propose shares from a ledger in which the loss of each corpus is a power law of its tokens."""
    step = np.repeat(np.arange(steps), len(exponents))
    corpus = np.tile(np.arange(len(exponents)), steps)
    tokens = np.full(len(step), 1000)
    read = 1000 * (step + 1.0)
    loss = 1000 * (1.5 + 3 * read ** -np.array(list(exponents.values()))[corpus])
    rows = LossRows(
        step=step, position=np.arange(len(step)), corpus=corpus, document=0 * step, tokens=tokens, loss=loss, names=tuple(exponents)
    )
    header = LedgerHeader(mixture=plan.name, plan=plan.fingerprint, seq_len=plan.seq_len, run=0, rank=0, world_size=1)
    write_part(folder, header, 0, rows)
    return propose(read_ledger(folder), plan)


@pytest.mark.parametrize("exponent", [0.05, 0.2, 0.5])
def test_power_law_is_fitted_to_its_own_losses(exponent: float) -> None:
    tokens = np.linspace(1e5, 1e7, 50)
    law = PowerLaw.fitted(tokens, 1.2 + 7 * tokens**-exponent)
    assert (law.floor, law.scale, law.exponent) == (pytest.approx(1.2, rel=1e-3), pytest.approx(7, rel=1e-3), pytest.approx(exponent))
    assert law.speed(1e7) == pytest.approx(exponent * 7 * 1e7**-exponent / 1e7, rel=1e-3)


def test_proposal_prefers_the_corpus_whose_loss_decreases_and_fits_a_mixture(tmp_path: Path) -> None:
    plan = plan_of(partitions({"slow": {"a": 10}, "fast": {"a": 10}, "flat": {"a": 20}}))
    found = proposal(tmp_path, plan, {"slow": 0.6, "fast": 0.2, "flat": 0.0})
    shares = {corpus.corpus: corpus.share for corpus in found.corpora}
    assert shares["fast"] > shares["slow"] > shares["flat"] == 0.01
    assert [corpus.declared for corpus in found.corpora] == [0.25, 0.25, 0.5]
    pasted = [line.strip(" -{}").split(", ") for line in found.declaration.splitlines() if line.startswith("  - ")]
    parts = [dict(key.split(": ") for key in line) for line in pasted]
    declared = [MixturePart(corpus=part["corpus"], share=float(part["share"])) for part in parts]
    assert {part.corpus: part.share for part in declared} == shares
    assert sum(round(share * 10_000) for share in shares.values()) == 10_000


@pytest.mark.parametrize(
    ("exponents", "steps", "message"),
    [
        ({"one": 0.2}, STEPS, "has 0 rows of corpus 'two', which make 0 points of a curve"),
        ({"one": 0.2, "two": 0.2}, 5, "has 5 rows of corpus 'one', which make 4 points of a curve"),
        ({"one": 0.0, "two": 0.0}, STEPS, "the loss of no corpus decreases"),
    ],
)
def test_proposal_from_too_few_losses_is_refused(tmp_path: Path, exponents: dict[str, float], steps: int, message: str) -> None:
    plan = plan_of(partitions({"one": {"a": 10}, "two": {"a": 10}}))
    with pytest.raises(PhyagiAssetsError, match=message):
        proposal(tmp_path, plan, exponents, steps)
