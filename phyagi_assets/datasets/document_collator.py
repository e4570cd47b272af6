"""Collation of samples with document boundaries into one row, for variable-length attention kernels."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class DocumentCollator:
    """Join samples into one row and mark where documents begin, so that attention stays within each document.

    The samples come from a mixture loaded with ``boundaries=True``. The first document of a sample begins with the sample.

    A model that shifts labels itself compares the output at the last token of a sample with the first label of the next one, which belongs
    to another document. Therefore the first label of each sample becomes `ignore_index`, as in the ``DataCollatorWithFlattening`` of
    ``transformers``.
    Labels that are already shifted are kept, because each one belongs to its own input.

    Parameters
    ----------
    shift_labels
        Whether the labels are already shifted (``load_mixture(…, shift_labels=True)``). By default they are treated as shifted if any
        label is neither equal to its input nor ignored.
    ignore_index
        Label that the loss ignores.

    Examples
    --------
    >>> samples = [{"input_ids": torch.tensor([5, 6, 7]), "labels": torch.tensor([5, 6, 7]), "position_ids": torch.tensor([0, 1, 0])}] * 2
    >>> batch = DocumentCollator()(samples)
    >>> batch["cu_seqlens"].tolist(), batch["max_seqlen"], batch["labels"].tolist()
    ([0, 2, 3, 5, 6], 2, [[-100, 6, 7, -100, 6, 7]])
    """

    def __init__(self, *, shift_labels: bool | None = None, ignore_index: int = -100) -> None:
        self.shift_labels = shift_labels
        self.ignore_index = ignore_index

    def __call__(self, samples: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Any]:
        """Collate samples, or a batch of a `MixtureLoader`; they are not changed.

        Returns
        -------
        dict
            ``input_ids``, ``labels`` and ``position_ids``, int64 of shape (1, tokens); ``cu_seqlens``, int32 of shape (documents + 1,),
            the start of each document and the end of the last one; ``max_seqlen``, an int, the number of tokens of the longest document.

        Raises
        ------
        ValueError
            The samples have no ``position_ids``.
        """
        rows = {name: _rows(samples, name) for name in ("input_ids", "labels", "position_ids")}
        flat = {name: torch.cat(parts) for name, parts in rows.items()}
        if not self._are_shifted(flat["labels"], flat["input_ids"]):
            lengths = torch.tensor([len(row) for row in rows["labels"]])
            flat["labels"][torch.cumsum(lengths, 0) - lengths] = self.ignore_index
        begins = torch.nonzero(flat["position_ids"] == 0).ravel()
        bounds = torch.cat([begins, torch.tensor([len(flat["position_ids"])])])
        joined = {name: column.unsqueeze(0) for name, column in flat.items()}
        return {**joined, "cu_seqlens": bounds.to(torch.int32), "max_seqlen": int(bounds.diff().max())}

    def _are_shifted(self, labels: torch.Tensor, inputs: torch.Tensor) -> bool:
        if self.shift_labels is not None:
            return self.shift_labels
        return not bool(((labels == inputs) | (labels == self.ignore_index)).all())


def _rows(samples: Sequence[Mapping[str, Any]] | Mapping[str, Any], name: str) -> list[torch.Tensor]:
    """Return one column of every sample, as 1-D tensors."""
    try:
        if isinstance(samples, Mapping):
            column = torch.as_tensor(samples[name])
            return list(column.reshape(-1, column.shape[-1]))
        return [torch.as_tensor(sample[name]).reshape(-1) for sample in samples]
    except KeyError:
        raise ValueError(f"{name}: is missing from the samples; load the mixture with boundaries=True") from None
