"""Losses as sums by corpus and step, with the losses that earlier steps suggest."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phyagi_assets.formats.loss_ledger import LossRows

_WINDOW, _FEWEST = 20, 5
"""Number of earlier steps that a step is compared with, and the smallest number."""

Floats = npt.NDArray[np.float64]


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
        loss, tokens = (
            np.bincount(cell, values, shape[0] * shape[1]).astype(np.float64).reshape(shape) for values in (rows.loss, rows.tokens)
        )
        expected = np.stack([_before(*both) for both in zip(loss, tokens, strict=True)])
        return cls(rows=rows, steps=steps, index=index, loss=loss, tokens=tokens, expected=expected)

    def excess_of_rows(self) -> Floats:
        """Return the loss of each row minus the expected one; infinite where the loss is not finite, NaN where nothing is expected."""
        excess = self.rows.loss - self.rows.tokens * self.expected[self.rows.corpus, self.index]
        return np.where(np.isfinite(self.rows.loss), excess, np.inf)


def _before(loss: Floats, tokens: Floats) -> Floats:
    """Return the median loss per token of earlier steps, for each step of a corpus."""
    found = np.full(len(loss), np.nan)
    occurs = tokens > 0
    found[occurs] = earlier_medians(loss[occurs] / tokens[occurs])
    return found


def earlier_medians(values: Floats, window: int = _WINDOW) -> Floats:
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


def mean_loss(loss: Floats, tokens: Floats) -> float | None:
    """Return the mean loss per token, given sums; None without tokens, or if it is not finite."""
    total = float(tokens.sum())
    return finite_or_none(float(loss.sum()) / total) if total else None


def finite_or_none(number: float) -> float | None:
    """Return a number, or None if it is not finite: JSON has no such numbers."""
    return number if math.isfinite(number) else None
