"""Losses by corpus and document, recorded in the training loop.

The scalar loss is computed from the losses of the tokens, so the only additional work on the device is one segmented sum per batch.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from phyagi_assets.datasets.divided_stream import shard_of_process
from phyagi_assets.datasets.loss_callbacks import lightning_callback, trainer_callback
from phyagi_assets.datasets.loss_sums import LossSums
from phyagi_assets.datasets.token_losses import reduced, token_losses
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formats.plan import Plan
from phyagi_assets.reading.numbers import checked_int
from phyagi_assets.reading.steps import Shard

logger = logging.getLogger(__name__)


class LossLedger:
    """A ledger of the losses of every sample, or of every document of every sample, as Parquet files.

    Rows have the columns ``step``, ``position``, ``corpus``, ``document`` (its ordinal in the sample; null for a whole sample), ``tokens``
    and ``loss`` (the sum over these tokens, in nats). A loss belongs to the document of the token that is predicted. The command
    ``phyagi-assets losses`` shows a ledger.

    If the folder already has a ledger, this run continues it: its rows replace those of earlier runs from its first step on. If the steps
    of this run go back, as in a second training in the same process, they replace its own earlier rows in the same way. Create the ledger
    on every rank before the training begins, so that all ranks belong to the same run.

    Parameters
    ----------
    folder
        Folder of the ledger, the same for all ranks.
    plan
        Plan of the mixture that is trained on: ``mixture.plan``.
    every
        Number of recorded batches after which a file is written.
    shift_labels
        Whether labels are already the next token, as with ``load_mixture(…, shift_labels=True)``. By default, labels are the token itself
        and are compared with the output at the token before, as in ``transformers`` models.
    ignore_index
        Label that the loss ignores.
    rank, world_size
        Rank of this process, and number of processes; by default those of ``torch.distributed`` when the first batch is recorded, or 0 and
        1 without it: trainers start ``torch.distributed`` after the ledger is created.

    Raises
    ------
    PhyagiAssetsError
        The folder cannot be created, or has losses of another mixture.
    ValueError
        A number is out of range.

    Examples
    --------
    >>> import torch
    >>> from phyagi_assets.datasets import MixtureLoader, load_mixture
    >>> mixture = load_mixture("demo")
    >>> with LossLedger("losses", mixture.plan) as ledger:
    ...     for step, batch in enumerate(MixtureLoader(mixture.train, batch_size=4)):
    ...         logits = torch.zeros(4, 512, 10)
    ...         loss = ledger.loss(logits, {**batch, "labels": batch["labels"] % 10}, step=step)
    >>> round(float(loss), 4)
    2.3026
    """

    def __init__(
        self,
        folder: str | Path,
        plan: Plan,
        *,
        every: int = 500,
        shift_labels: bool = False,
        ignore_index: int = -100,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        from phyagi_assets.formats.loss_ledger import last_header, next_run

        self.folder, self.plan = Path(folder), plan
        self.shift_labels, self.ignore_index = shift_labels, ignore_index
        self._every = checked_int("every", every, least=1)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise PhyagiAssetsError(f"{self.folder}: cannot be created: {problem.strerror}; name another folder for the ledger") from None
        last = last_header(self.folder)
        if last and last.plan not in (plan.fingerprint, *(ancestor.fingerprint for ancestor in plan.ancestors)):
            raise PhyagiAssetsError(
                f"{self.folder}: has losses of plan {last.plan} of mixture {last.mixture!r}, which plan {plan.fingerprint} of "
                f"{plan.name!r} does not continue; name another folder for the ledger"
            )
        self._shard = Shard.given(rank, world_size)
        self._run = next_run(self.folder)
        if last:
            logger.info("%s: continues as run %d; the steps of this run replace those of earlier runs", self.folder, self._run)
        self._sums = LossSums(tuple(corpus.name for corpus in plan.corpora))
        self._recorded = self._parts = self._last_step = 0
        self._has_left_out = False

    def loss(
        self, logits: torch.Tensor, batch: Mapping[str, Any], *, step: int, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Return the cross entropy of a batch as a scalar, and record it by document.

        Parameters
        ----------
        logits
            Output of the model, of shape (samples, seq_len, vocabulary).
        batch
            A batch of a mixture, as in `record`, with ``labels``.
        step
            Global step, from 0.
        num_items_in_batch
            Number by which the sum of the losses is divided; by default, the number of labels that are not ignored, so that the loss is
            their mean.

        Returns
        -------
        torch.Tensor
            The loss that ``transformers`` models compute from the same arguments.

        Raises
        ------
        ValueError
            The batch lacks a column.
        """
        losses, targets = token_losses(logits, batch["labels"], shift_labels=self.shift_labels, ignore_index=self.ignore_index)
        self.record(losses, targets, batch, step=step)
        return reduced(losses, targets, num_items_in_batch, ignore_index=self.ignore_index)

    def record(self, losses: torch.Tensor, targets: torch.Tensor, batch: Mapping[str, Any], *, step: int) -> None:
        """Record the losses of the tokens of a batch.

        A batch without gradients is not recorded: trainers call the same function in validation, whose positions belong to another split.

        Parameters
        ----------
        losses
            Loss of predicting the token after each token, of shape (samples, seq_len).
        targets
            Labels for which the losses were computed, of the same shape, or `ignore_index` for tokens without a loss.
        batch
            A batch of a mixture: its ``position`` and ``dataset_idx``, of shape (samples,), and ``document_ids``, of shape
            (samples, seq_len), if present. Without ``document_ids``, one loss is recorded per sample.
        step
            Global step, from 0. With gradient accumulation, several batches have the same step.

        Raises
        ------
        ValueError
            The batch lacks a column, or a shape differs.
        """
        step = checked_int("step", step)
        places = _places(batch, losses)
        if not torch.is_grad_enabled() and not losses.requires_grad:
            if not self._has_left_out:
                logger.warning("%s: a batch without gradients, as in validation, is not recorded", self.folder)
            self._has_left_out = True
            return
        self._shard = self._shard or shard_of_process()
        if step < self._last_step:
            self._go_back(step)
        self._last_step = step
        self._sums.add(step, places, losses, targets != self.ignore_index, batch.get("document_ids"))
        self._recorded += 1
        if self._recorded % self._every == 0:
            self.flush()

    def flush(self) -> None:
        """Write the recorded losses to a new file. Call it when a checkpoint is saved, so that the ledger is not behind the checkpoint."""
        from phyagi_assets.formats.loss_ledger import LedgerHeader, write_part

        if rows := self._sums.rows():
            plan, shard = self.plan, self._shard or Shard()
            header = LedgerHeader(
                mixture=plan.name,
                plan=plan.fingerprint,
                seq_len=plan.seq_len,
                run=self._run,
                rank=shard.rank,
                world_size=shard.world_size,
            )
            write_part(self.folder, header, self._parts, rows)
            self._sums.clear()
            self._parts += 1

    def _go_back(self, step: int) -> None:
        """Begin the next run, whose steps replace the recorded ones from a step on."""
        self.flush()
        self._run, self._parts = self._run + 1, 0
        logger.warning(
            "%s: step %d follows step %d; this is run %d, which replaces the steps from %d on",
            *(self.folder, step, self._last_step, self._run, step),
        )

    def trainer_callback(self) -> Any:
        """Return a callback that records the losses of a ``transformers.Trainer``.

        Its method ``compute_loss`` must be passed as the ``compute_loss_func`` of the Trainer, too. The TrainingArguments have to
        contain ``remove_unused_columns=False``, so that positions reach the callback; the model does not receive them. They must not set
        ``label_smoothing_factor``, which the Trainer ignores if it has a ``compute_loss_func``. The ledger is written with each checkpoint.
        Losses of evaluations are not recorded.

        Returns
        -------
        transformers.TrainerCallback
            The callback.
        """
        return trainer_callback(self)

    def lightning_callback(self) -> Any:
        """Return a callback that writes the ledger with each checkpoint of Lightning, and at the end of the training.

        The ``training_step`` of the model calls `loss` or `record` with ``step=self.global_step``.

        Returns
        -------
        lightning.pytorch.Callback
            The callback, for ``pytorch_lightning`` if that is loaded instead.

        Raises
        ------
        ImportError
            Neither package is installed.
        """
        return lightning_callback(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.flush()


def _places(batch: Mapping[str, Any], losses: torch.Tensor) -> torch.Tensor:
    """Check and return the position and the corpus of each sample."""
    for name in ("position", "dataset_idx"):
        if name not in batch:
            raise ValueError(f"{name}: is missing from the batch; record batches of a mixture that are not collated to one row")
    places = torch.stack([torch.as_tensor(batch[name]).to(torch.int64) for name in ("position", "dataset_idx")])
    documents = batch.get("document_ids")
    for name, shape, expected in (
        ("losses", tuple(losses.shape[:1]), tuple(places.shape[1:])),
        ("document_ids", tuple(losses.shape) if documents is None else tuple(documents.shape), tuple(losses.shape)),
    ):
        if shape != expected:
            raise ValueError(f"{name}: has shape {shape}, but the batch has {expected}; record one row per sample")
    return places
