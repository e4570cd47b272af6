"""Samples with document boundaries → one row, for attention kernels of variable length."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class DocumentCollator:
    """Lays samples one after the other and says where documents begin, so that attention stays inside each.

    The samples are those of a mixture that was loaded with ``boundaries=True``. The first document of a sample begins with the sample.

    Examples
    --------
    >>> samples = [{"input_ids": torch.tensor([5, 6, 7]), "labels": torch.tensor([5, 6, 7]), "position_ids": torch.tensor([0, 1, 0])}] * 2
    >>> batch = DocumentCollator()(samples)
    >>> batch["cu_seqlens"].tolist(), batch["max_seqlen"], batch["input_ids"].shape
    ([0, 2, 3, 5, 6], 2, torch.Size([1, 6]))
    """

    def __call__(self, samples: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Any]:
        """Collate samples, or a batch that a `MixtureLoader` gave; they are left as they are.

        Returns
        -------
        dict
            ``input_ids``, ``labels`` and ``position_ids``, int64 of shape (1, tokens); ``cu_seqlens``, int32 of shape (documents + 1,),
            where each document begins, and where the last one ends; ``max_seqlen``, the tokens of the longest, an int.

        Raises
        ------
        ValueError
            The samples have no ``position_ids``.
        """
        columns = {name: _flat(samples, name) for name in ("input_ids", "labels", "position_ids")}
        begins = torch.nonzero(columns["position_ids"] == 0).ravel()
        bounds = torch.cat([begins, torch.tensor([len(columns["position_ids"])])])
        rows = {name: column.unsqueeze(0) for name, column in columns.items()}
        return {**rows, "cu_seqlens": bounds.to(torch.int32), "max_seqlen": int(bounds.diff().max())}


def _flat(samples: Sequence[Mapping[str, Any]] | Mapping[str, Any], name: str) -> torch.Tensor:
    try:
        column = samples[name] if isinstance(samples, Mapping) else torch.cat([sample[name] for sample in samples])
    except KeyError:
        raise ValueError(f"{name}: the samples have none; load the mixture with boundaries=True") from None
    return torch.as_tensor(column).reshape(-1)
