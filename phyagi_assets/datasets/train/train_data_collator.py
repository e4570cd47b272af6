"""Collation of samples into batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import default_collate


@dataclass
class LMDataCollator:
    """Collator that stacks samples and excludes chosen tokens from the loss.

    Parameters
    ----------
    ignore_token_ids
        Ids to exclude.
    ignore_token_id_range
        First and last id of a range to exclude; None for an open end.
    ignore_index
        Label of excluded positions.

    Raises
    ------
    ValueError
        The range does not have two ends in ascending order.

    Examples
    --------
    >>> import torch
    >>> sample = {"input_ids": torch.tensor([5, 6]), "labels": torch.tensor([5, 6])}
    >>> LMDataCollator(ignore_token_ids=[5])([sample])["labels"]
    tensor([[-100,    6]])
    >>> sample["labels"]
    tensor([5, 6])
    """

    ignore_token_ids: Sequence[int] | None = None
    ignore_token_id_range: Sequence[int | None] | None = None
    ignore_index: int = -100

    def __post_init__(self) -> None:
        bounds = self.ignore_token_id_range
        if bounds is None:
            return
        ends = [end for end in bounds if end is not None]
        if len(bounds) != 2 or ends != sorted(ends):
            raise ValueError(
                f"ignore_token_id_range: is {list(bounds)}; use the first and the last id of a range, with None for an open end"
            )

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Collate samples, without modifying them; ids and labels may also be lists, as rows of ``datasets`` have them.

        Returns
        -------
        dict
            The keys of the samples, with tensors stacked to shape (samples, …).
        """
        batch: dict[str, Any] = default_collate([{name: _as_tensor(value) for name, value in example.items()} for example in examples])
        if "labels" in batch:
            batch["labels"] = self._without_ignored(batch["labels"])
        return batch

    def _without_ignored(self, labels: torch.Tensor) -> torch.Tensor:
        ignored = torch.isin(labels, torch.tensor(list(self.ignore_token_ids or ()), dtype=labels.dtype))
        if self.ignore_token_id_range is not None:
            first, last = self.ignore_token_id_range
            inside = torch.ones_like(ignored)
            if first is not None:
                inside &= labels >= first
            if last is not None:
                inside &= labels <= last
            ignored |= inside
        return labels.masked_fill(ignored, self.ignore_index)


def _as_tensor(value: Any) -> Any:
    return torch.tensor(value) if isinstance(value, list) and all(isinstance(entry, int) for entry in value) else value
