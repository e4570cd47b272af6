"""What a ledger of losses shows: the loss of each corpus over time, spikes, and the documents behind them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formats.loss_ledger import WHOLE_SAMPLE, Ledger, LossRows
from phyagi_assets.formats.plan import Plan
from phyagi_assets.inspection.explain import DocumentSpan, ExplainedSample, Explainer
from phyagi_assets.inspection.loss_proposal import Proposal
from phyagi_assets.inspection.report import Record, Report

_BINS = 60
"""Largest number of points of a curve."""
_WINDOW, _NOISE_WINDOW, _FEWEST = 20, 50, 5
"""Number of earlier steps that a step is compared with, number of those whose noise is measured, and the smallest number."""
_SCORE = 5.0
"""Score from which a step belongs to a spike."""
_GAP = 2
"""Largest distance, in steps, of two steps of the same spike."""
_SMALLEST_SCALE = 0.01
"""Smallest scale of the excess, as a part of the expected loss."""
_TRACED = 64
"""Number of rows with the largest excess that are traced back to their documents."""
_SMALLEST_PART = 0.05
"""Smallest excess of a document that is reported, as a part of the largest one."""
_EXCERPT = 300
"""Largest number of characters of the text of a document."""

Floats = npt.NDArray[np.float64]


class LossPoint(Record):
    """The loss of a corpus in consecutive steps."""

    step: int
    """First of the steps."""
    tokens: int
    """Number of tokens of the corpus in these steps."""
    loss: float | None
    """Mean loss per token, in nats; None without tokens, or if a loss is not finite."""


class CorpusLosses(Record):
    """The losses of a corpus."""

    corpus: str
    tokens: int
    share: float
    """Share of the tokens of the ledger."""
    loss: float | None
    """Mean loss per token, in nats."""
    first: float | None
    """Mean loss per token in the first tenth of the steps."""
    last: float | None
    """Mean loss per token in the last tenth of the steps."""
    curve: tuple[LossPoint, ...]


class LossDocument(Record):
    """A document in the samples of a spike."""

    corpus: str
    partition: str
    file: str
    """Name of the source file, as the source lists it."""
    row: int
    """0-based row of the document in the file."""
    id: str
    """Document id, as `phyagi-assets remove` takes it."""
    positions: tuple[int, ...]
    """Positions of the samples that contain it, among those of the spike that were traced."""
    tokens: int
    """Number of its tokens in these samples that have a loss."""
    loss: float | None
    """Mean loss of these tokens, in nats."""
    excess: float | None
    """Sum of these losses minus those that earlier steps of the corpus suggest, in nats; None if a loss is not finite."""
    is_measured: bool
    """Whether the loss is that of the document, and not of all documents in its samples."""
    text: str
    """Beginning of its text in the first of these samples."""


class LossSpike(Record):
    """Steps whose loss is far above that of the steps before them."""

    first: int
    """First step."""
    last: int
    """Last step."""
    peak: int
    """Step with the largest score."""
    loss: float | None
    """Mean loss per token at the peak, in nats; None if it is not finite."""
    expected: float | None
    """Loss that the earlier steps of the corpora at the peak suggest, in nats; None if they are too few."""
    score: float | None
    """Excess of the loss at the peak in standard deviations of earlier steps; None if the loss is not finite."""
    documents: tuple[LossDocument, ...]
    """Documents with the largest excess in these steps and the step before them."""


class LossReport(Report):
    """The losses in a ledger."""

    report: Literal["losses"] = "losses"
    version: Literal[1] = 1
    mixture: str
    plan: str
    """Fingerprint of the plan."""
    ledger: str
    """Folder of the ledger."""
    first_step: int
    last_step: int
    runs: int
    """Number of runs that wrote to the ledger."""
    ranks: int
    """Largest number of ranks of a run."""
    replaced: int
    """Number of rows that a later run replaced."""
    tokens: int
    loss: float | None
    """Mean loss per token, in nats."""
    corpora: tuple[CorpusLosses, ...]
    spikes: tuple[LossSpike, ...]
    """The largest spikes, the largest first."""
    proposal: Proposal | None
    """Shares for the next stage; None if not requested."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Sums by corpus and step."""

    rows: LossRows
    steps: npt.NDArray[np.int64]
    """The steps, in order."""
    index: npt.NDArray[np.int64]
    """Index into `steps` of each row."""
    loss: Floats
    """Sum of the losses, of shape (corpora, steps)."""
    tokens: Floats
    """Number of tokens, of the same shape."""
    expected: Floats
    """Loss per token that earlier steps of the corpus suggest, of the same shape; NaN without enough earlier steps."""

    @classmethod
    def of(cls, rows: LossRows) -> "Losses":
        """Return the sums of the rows of a ledger."""
        steps, index = np.unique(rows.step, return_inverse=True)
        shape = len(rows.names), len(steps)
        cell = rows.corpus * len(steps) + index
        loss, tokens = (np.bincount(cell, of, shape[0] * shape[1]).astype(np.float64).reshape(shape) for of in (rows.loss, rows.tokens))
        expected = np.stack([_before(*of) for of in zip(loss, tokens, strict=True)])
        return cls(rows=rows, steps=steps, index=index, loss=loss, tokens=tokens, expected=expected)

    def excess_of_rows(self) -> Floats:
        """Return the loss of each row minus the expected one; infinite where the loss is not finite, NaN where nothing is expected."""
        excess = self.rows.loss - self.rows.tokens * self.expected[self.rows.corpus, self.index]
        return np.where(np.isfinite(self.rows.loss), excess, np.inf)


def _before(loss: Floats, tokens: Floats) -> Floats:
    """Return the median loss per token of earlier steps, for each step of a corpus."""
    found = np.full(len(loss), np.nan)
    occurs = tokens > 0
    found[occurs] = _earlier_medians(loss[occurs] / tokens[occurs])
    return found


def _earlier_medians(values: Floats, window: int = _WINDOW) -> Floats:
    """Return the median of the last finite values before each value; NaN if they are too few."""
    is_finite = np.isfinite(values)
    finite = values[is_finite]
    medians = np.full(len(finite) + 1, np.nan)
    for count in range(_FEWEST, min(window, len(finite) + 1)):
        medians[count] = np.median(finite[:count])
    if len(finite) >= window:
        windows = np.lib.stride_tricks.sliding_window_view(finite, window)
        for begin in range(0, len(windows), 1 << 14):
            medians[window + begin : window + begin + (1 << 14)] = np.median(windows[begin : begin + (1 << 14)], axis=1)
    earlier = np.cumsum(is_finite) - is_finite
    found: Floats = medians[earlier]
    return found


def report_losses(
    ledger: Ledger, explainer: Explainer, *, spikes: int = 3, documents: int = 3, proposal: Proposal | None = None
) -> LossReport:
    """Report the losses in a ledger.

    Parameters
    ----------
    spikes, documents
        Largest number of spikes, and of documents per spike.

    Raises
    ------
    PhyagiAssetsError
        The ledger was written with a plan of another order.
    StoreError
        A file that the plan names is gone.
    """
    require_same_order(ledger, explainer.plan)
    losses = Losses.of(ledger.rows)
    return LossReport(
        mixture=explainer.plan.name,
        plan=explainer.plan.fingerprint,
        ledger=str(ledger.folder),
        first_step=int(losses.steps[0]),
        last_step=int(losses.steps[-1]),
        runs=ledger.runs,
        ranks=ledger.ranks,
        replaced=ledger.replaced,
        tokens=int(losses.tokens.sum()),
        loss=_mean(losses.loss, losses.tokens),
        corpora=tuple(_corpora(losses)),
        spikes=tuple(_spikes(losses, explainer, spikes, documents)),
        proposal=proposal,
    )


def require_same_order(ledger: Ledger, plan: Plan) -> None:
    """Check that a ledger was written with a plan, or with one of the same order up to the end of the ledger.

    Raises
    ------
    PhyagiAssetsError
        The plan has another order.
    """
    for use in ledger.plans:
        if not plan.agrees(use.plan, use.end):
            raise PhyagiAssetsError(
                f"{ledger.folder}: has losses of plan {use.plan} of mixture {use.mixture!r} up to position {use.end - 1:,}, but "
                f"{plan.name!r} is now plan {plan.fingerprint}, which has another order up to there; name the mixture of the ledger, or "
                "the path of the mixture.json of that plan"
            )


def _mean(loss: Floats, tokens: Floats) -> float | None:
    total = float(tokens.sum())
    return finite_or_none(float(loss.sum()) / total) if total else None


def finite_or_none(number: float) -> float | None:
    """Return a number, or None if it is not finite: JSON has no such numbers."""
    return number if math.isfinite(number) else None


def _corpora(losses: Losses) -> Iterator[CorpusLosses]:
    count = len(losses.steps)
    bounds = np.unique(np.linspace(0, count, min(_BINS, count) + 1).astype(np.int64))
    tenth = max(1, count // 10)
    for name, loss, tokens in zip(losses.rows.names, losses.loss, losses.tokens, strict=True):
        yield CorpusLosses(
            corpus=name,
            tokens=int(tokens.sum()),
            share=float(tokens.sum() / losses.tokens.sum()),
            loss=_mean(loss, tokens),
            first=_mean(loss[:tenth], tokens[:tenth]),
            last=_mean(loss[-tenth:], tokens[-tenth:]),
            curve=tuple(
                LossPoint(
                    step=int(losses.steps[begin]), tokens=int(tokens[begin:end].sum()), loss=_mean(loss[begin:end], tokens[begin:end])
                )
                for begin, end in pairwise(bounds.tolist())
            ),
        )


def _spikes(losses: Losses, explainer: Explainer, spikes: int, documents: int) -> Iterator[LossSpike]:
    """Yield the largest spikes. A step whose loss is not finite is always one.

    The score of a step is its excess over the expected loss of its corpora, per token, in standard deviations of the noise of earlier
    steps. Their estimate is 1.4826 / √2 times the median of absolute changes from step to step, which a slow decrease of the loss does
    not affect.
    """
    known = np.isfinite(losses.expected) & (losses.tokens > 0)
    tokens = np.where(known, losses.tokens, 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        loss = np.where(known, losses.loss, 0).sum(axis=0) / tokens
        expected = np.where(known, losses.tokens * losses.expected, 0).sum(axis=0) / tokens
        excess = np.where(np.isfinite(loss), loss - expected, np.where(tokens > 0, np.inf, np.nan))
        changes = np.abs(np.diff(excess, prepend=np.nan))
        scale = np.maximum(1.4826 / math.sqrt(2) * _earlier_medians(changes, _NOISE_WINDOW), _SMALLEST_SCALE * expected)
        score = excess / scale
    score[~np.isfinite(losses.loss.sum(axis=0))] = np.inf
    above = np.flatnonzero(score >= _SCORE)
    groups = np.split(above, np.flatnonzero(np.diff(above) > _GAP) + 1) if len(above) else []
    of_rows = losses.excess_of_rows()
    for group in sorted(groups, key=lambda group: -float(score[group].max()))[:spikes]:
        peak = int(group[np.argmax(score[group])])
        first, last = int(group[0]), int(group[-1])
        yield LossSpike(
            first=int(losses.steps[first]),
            last=int(losses.steps[last]),
            peak=int(losses.steps[peak]),
            loss=_mean(losses.loss[:, peak], losses.tokens[:, peak]) if math.isinf(score[peak]) else finite_or_none(float(loss[peak])),
            expected=finite_or_none(float(expected[peak])),
            score=finite_or_none(float(score[peak])),
            documents=tuple(_documents(losses.rows, of_rows, (losses.index >= first - 1) & (losses.index <= last), explainer)[:documents]),
        )


def _documents(rows: LossRows, excess: Floats, chosen: npt.NDArray[np.bool_], explainer: Explainer) -> list[LossDocument]:
    """Return the documents of chosen rows, those with the largest excess first."""
    candidates = np.flatnonzero(chosen & (excess > 0))
    largest = candidates[np.argsort(-excess[candidates], kind="stable")[:_TRACED]]
    found: dict[tuple[str, str, str, int], list[tuple[int, int, DocumentSpan, bool]]] = {}
    for row in largest.tolist():
        (sample,) = explainer.explain([int(rows.position[row])])
        spans, is_measured = _spans(sample, int(rows.document[row]), int(rows.tokens[row]))
        for span in spans:
            found.setdefault((sample.corpus, span.partition, span.file, span.row), []).append((row, sample.position, span, is_measured))
    documents = []
    for (corpus, partition, file, number), places in found.items():
        of = np.array([row for row, *_ in places])
        tokens, total = int(rows.tokens[of].sum()), float(rows.loss[of].sum())
        documents.append(
            LossDocument(
                corpus=corpus,
                partition=partition,
                file=file,
                row=number,
                id=places[0][2].id,
                positions=tuple(sorted({position for _, position, _, _ in places})),
                tokens=tokens,
                loss=finite_or_none(total / tokens),
                excess=finite_or_none(float(excess[of].sum())),
                is_measured=all(is_measured for *_, is_measured in places),
                text=places[0][2].text[:_EXCERPT],
            )
        )
    found_excess = [math.inf if document.excess is None else document.excess for document in documents]
    least = _SMALLEST_PART * max(found_excess, default=0.0)
    order = sorted((at for at, of in enumerate(found_excess) if of >= least), key=lambda at: -found_excess[at])
    return [documents[at] for at in order]


def _spans(sample: ExplainedSample, ordinal: int, tokens: int) -> tuple[list[DocumentSpan], bool]:
    """Return the documents of a row, and whether its loss is that of a single document.

    If only some samples of a mixture are packed, a batch without boundaries numbers the documents of these only: a row of the first
    document that has more tokens than the document covers the whole sample.
    """
    spans = list(sample.documents)
    is_whole = ordinal in (WHOLE_SAMPLE, 0) and (ordinal == WHOLE_SAMPLE or tokens > spans[0].end - spans[0].start)
    if is_whole or ordinal >= len(spans):
        return spans, len(spans) == 1
    return [spans[ordinal]], True
