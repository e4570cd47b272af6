"""Spikes of the loss with the documents behind them, and other documents with an unusual loss."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from phyagi_assets.formats.loss_ledger import WHOLE_SAMPLE, LossRows
from phyagi_assets.inspection.explain import DocumentSpan, ExplainedSample, Explainer
from phyagi_assets.inspection.loss_report import LossDocument, LossSpike
from phyagi_assets.inspection.loss_series import Floats, Losses, earlier_medians, finite_or_none, mean_loss

_NOISE_WINDOW = 50
"""Number of earlier steps whose noise is measured."""
_SCORE = 5.0
"""Score from which a step belongs to a spike."""
_GAP = 2
"""Largest distance, in steps, of two steps of the same spike."""
_SMALLEST_SCALE = 0.01
"""Smallest scale of the excess, as a part of the expected loss."""
_TRACED = 64
"""Number of rows with the largest excess that are traced back to their documents."""
_OUTLIER = 6.0
"""Score from which a document is an outlier."""
_FEWEST_PEERS = 100
"""Smallest number of documents that a document is compared with."""
_SMALLEST_PART = 0.05
"""Smallest excess of a document that is reported, as a part of the largest one."""
_EXCERPT = 300
"""Largest number of characters of the text of a document."""


def largest_spikes(losses: Losses, explainer: Explainer, spikes: int, documents: int) -> Iterator[LossSpike]:
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
        scale = np.maximum(1.4826 / math.sqrt(2) * earlier_medians(changes, _NOISE_WINDOW), _SMALLEST_SCALE * expected)
        score = excess / scale
    score[~np.isfinite(losses.loss.sum(axis=0))] = np.inf
    above = np.flatnonzero(score >= _SCORE)
    groups = np.split(above, np.flatnonzero(np.diff(above) > _GAP) + 1) if len(above) else []
    by_row = losses.excess_of_rows()
    for group in sorted(groups, key=lambda group: -float(score[group].max()))[:spikes]:
        peak = int(group[np.argmax(score[group])])
        first, last = int(group[0]), int(group[-1])
        yield LossSpike(
            first=int(losses.steps[first]),
            last=int(losses.steps[last]),
            peak=int(losses.steps[peak]),
            loss=mean_loss(losses.loss[:, peak], losses.tokens[:, peak]) if math.isinf(score[peak]) else finite_or_none(float(loss[peak])),
            expected=finite_or_none(float(expected[peak])),
            score=finite_or_none(float(score[peak])),
            documents=tuple(_documents(losses.rows, by_row, (losses.index >= first - 1) & (losses.index <= last), explainer)[:documents]),
        )


def outlying_documents(losses: Losses, explainer: Explainer, spikes: Sequence[LossSpike], documents: int) -> Iterator[LossDocument]:
    """Yield the documents outside of spikes whose loss is far above that of documents of the same corpus and of about the same length.

    In a large batch, one document hardly changes the mean. The score of a document is its excess per token above the median of these
    documents, in standard deviations, estimated as 1.4826 times their median absolute deviation. Lengths are compared by powers of 2.
    """
    rows, excess = losses.rows, losses.excess_of_rows()
    known = np.flatnonzero(np.isfinite(excess) & (rows.tokens > 0))
    per_token = excess[known] / rows.tokens[known]
    peers = rows.corpus[known] * 64 + np.frexp(rows.tokens[known])[1]
    order = np.argsort(peers, kind="stable")
    chosen = np.zeros(len(excess), np.bool_)
    for members in np.split(order, np.flatnonzero(np.diff(peers[order])) + 1):
        if len(members) >= _FEWEST_PEERS:
            above = per_token[members] - np.median(per_token[members])
            chosen[known[members]] = above > _OUTLIER * 1.4826 * np.median(np.abs(above))
    for spike in spikes:
        chosen &= (rows.step < spike.first - 1) | (rows.step > spike.last)
    yield from _documents(rows, excess, chosen, explainer)[:documents]


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
        own = np.array([row for row, *_ in places])
        tokens, total = int(rows.tokens[own].sum()), float(rows.loss[own].sum())
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
                excess=finite_or_none(float(excess[own].sum())),
                is_measured=all(is_measured for *_, is_measured in places),
                text=places[0][2].text[:_EXCERPT],
            )
        )
    found_excess = [math.inf if document.excess is None else document.excess for document in documents]
    least = _SMALLEST_PART * max(found_excess, default=0.0)
    order = sorted((i for i, value in enumerate(found_excess) if value >= least), key=lambda i: -found_excess[i])
    return [documents[i] for i in order]


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
