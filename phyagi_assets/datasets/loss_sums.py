"""Sums of the losses of each document, which stay on the device; those of many steps are copied to the host together."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from phyagi_assets.formats.loss_ledger import LossRows

_PENDING_BATCHES, _PENDING_BYTES = 64, 32 << 20
"""Number of batches, and size of their sums in bytes, at which pending sums are copied to the host."""


class _Pending(NamedTuple):
    """Sums of a batch on the device."""

    step: int
    places: torch.Tensor
    """Position and corpus of each sample, int64 of shape (2, samples)."""
    sums: torch.Tensor
    """Losses and numbers of tokens, of shape (2, samples, documents)."""
    has_documents: bool


class LossSums:
    """The sums of recorded batches, until they are taken as rows of a ledger.

    Parameters
    ----------
    names
        Names of the corpora.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._pending: list[_Pending] = []
        self._rows: list[LossRows] = []

    def add(self, step: int, places: torch.Tensor, losses: torch.Tensor, counted: torch.Tensor, documents: torch.Tensor | None) -> None:
        """Add a batch.

        Parameters
        ----------
        step
            Global step.
        places
            Position and corpus of each sample, int64 of shape (2, samples).
        losses
            Loss of predicting the token after each token, of shape (samples, seq_len).
        counted
            Whether each loss counts, bool of the same shape.
        documents
            Ordinal of the document of each token in its sample, int64 of the same shape; None for one sum per sample.
        """
        with torch.no_grad():
            values = torch.stack([losses.detach().float(), counted.float()])
            values[0].masked_fill_(~counted, 0.0)
            if documents is None:
                sums = values.sum(2, keepdim=True)
            else:
                documents = documents.to(losses.device, non_blocking=True)
                target_documents = torch.cat([documents[:, 1:], documents[:, -1:]], 1)
                sums = torch.zeros_like(values).scatter_add_(2, target_documents.expand_as(values), values)
        self._pending.append(_Pending(step, places, sums, documents is not None))
        if len(self._pending) >= _PENDING_BATCHES or len(self._pending) * sums.nbytes >= _PENDING_BYTES:
            self._copy_to_host()

    def rows(self) -> "LossRows | None":
        """Return the rows of all batches that were added; None if there are none."""
        from phyagi_assets.formats.loss_ledger import LossRows

        self._copy_to_host()
        return LossRows.joined(self._rows, self._names) if self._rows else None

    def clear(self) -> None:
        """Forget the rows, which have been written."""
        self._rows.clear()

    def _copy_to_host(self) -> None:
        """Copy the pending sums from the device to the host."""
        from phyagi_assets.formats.loss_ledger import WHOLE_SAMPLE, LossRows

        for batch in self._pending:
            loss, tokens = batch.sums.cpu().numpy()
            positions, corpora = batch.places.cpu().numpy()
            sample, document = np.nonzero(tokens)
            if len(sample):
                self._rows.append(
                    LossRows(
                        step=np.full(len(sample), batch.step, dtype=np.int64),
                        position=positions[sample],
                        corpus=corpora[sample],
                        document=document if batch.has_documents else np.full(len(sample), WHOLE_SAMPLE, dtype=np.int64),
                        tokens=tokens[sample, document].astype(np.int64),
                        loss=loss[sample, document],
                        names=self._names,
                    )
                )
        self._pending.clear()
