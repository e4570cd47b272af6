"""Collation of samples with document boundaries into one row, for variable-length attention kernels."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch

Bounds = Literal["flash_attn", "transformers", "position_ids"]
"""Form of the document boundaries in a collated batch."""


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
    bounds
        Form of the bounds of documents besides ``position_ids``: ``flash_attn`` gives ``cu_seqlens`` and ``max_seqlen``, the names of
        flash-attn; ``transformers`` gives ``cu_seq_lens_q``, ``cu_seq_lens_k``, ``max_length_q`` and ``max_length_k``, which its models
        take as keyword arguments; ``position_ids`` adds nothing: with FlashAttention, its models derive the bounds from the positions.

    Raises
    ------
    ValueError
        `bounds` is not one of these forms.

    Examples
    --------
    >>> samples = [{"input_ids": torch.tensor([5, 6, 7]), "labels": torch.tensor([5, 6, 7]), "position_ids": torch.tensor([0, 1, 0])}] * 2
    >>> batch = DocumentCollator()(samples)
    >>> batch["cu_seqlens"].tolist(), batch["max_seqlen"], batch["labels"].tolist()
    ([0, 2, 3, 5, 6], 2, [[-100, 6, 7, -100, 6, 7]])
    >>> sorted(DocumentCollator(bounds="transformers")(samples))
    ['cu_seq_lens_k', 'cu_seq_lens_q', 'input_ids', 'labels', 'max_length_k', 'max_length_q', 'position_ids']
    """

    def __init__(self, *, shift_labels: bool | None = None, ignore_index: int = -100, bounds: Bounds = "flash_attn") -> None:
        if bounds not in get_args(Bounds):
            raise ValueError(f"bounds: is {bounds!r}; use one of {', '.join(map(repr, get_args(Bounds)))}")
        self.shift_labels = shift_labels
        self.ignore_index = ignore_index
        self.bounds = bounds

    def __call__(self, samples: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Any]:
        """Collate samples, or a batch of a `MixtureLoader`, without modifying them.

        Returns
        -------
        dict
            ``input_ids``, ``labels`` and ``position_ids``, int64 of shape (1, tokens); by `bounds`, the start of each document and the end
            of the last one, int32 of shape (documents + 1,), and the number of tokens of the longest document, an int.

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
        return {**{name: column.unsqueeze(0) for name, column in flat.items()}, **self._bounds(flat["position_ids"])}

    def _bounds(self, positions: torch.Tensor) -> dict[str, Any]:
        if self.bounds == "position_ids":
            return {}
        bounds = torch.cat([torch.nonzero(positions == 0).ravel(), torch.tensor([len(positions)])]).to(torch.int32)
        longest = int(bounds.diff().max())
        if self.bounds == "flash_attn":
            return {"cu_seqlens": bounds, "max_seqlen": longest}
        return {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}

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
