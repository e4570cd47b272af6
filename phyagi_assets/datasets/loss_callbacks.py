"""Callbacks that record losses in trainers of other packages, which are imported only when a callback is created."""

import importlib
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from phyagi_assets.datasets.lightning_loop import LIGHTNING
from phyagi_assets.datasets.token_losses import reduced, token_losses

_COLUMNS = ("position", "dataset_idx", "document_ids", "corpus")
"""Columns of a batch that models do not accept."""
_HOOK = "_phyagi_assets_loss_hook"
"""Attribute of a model with the handle of the hook that removes these columns from its inputs."""


class Recorder(Protocol):
    """A ledger of losses."""

    shift_labels: bool
    ignore_index: int

    def record(self, losses: torch.Tensor, targets: torch.Tensor, batch: Mapping[str, Any], *, step: int) -> None:
        """Record the losses of the tokens of a batch."""

    def flush(self) -> None:
        """Write the recorded losses."""


class _TrainerHooks:
    """Methods of a callback of a Trainer. A hook removes the columns of the mixture from the inputs of the model."""

    def __init__(self, ledger: Recorder) -> None:
        self._ledger = ledger
        self._batch: dict[str, Any] | None = None
        self._step = 0
        self._is_hooked = self._computes_loss = False

    def compute_loss(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the loss of a batch, and record it if the model is in training."""
        self._computes_loss = True
        if not self._is_hooked and torch.is_grad_enabled():
            raise ValueError(
                "callbacks: the Trainer has compute_loss of the callback, but not the callback; pass it, too: callbacks=[callback]"
            )
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs if isinstance(outputs, torch.Tensor) else outputs[0]
        losses, targets = token_losses(logits, labels, shift_labels=self._ledger.shift_labels, ignore_index=self._ledger.ignore_index)
        if self._batch is not None:
            if "position" not in self._batch:
                raise ValueError(
                    "position: is missing from the batch: the Trainer has removed it, or the samples are not from a mixture; set "
                    "remove_unused_columns=False in the TrainingArguments, and train on a MixtureStream or mixture.train"
                )
            self._ledger.record(losses, targets, self._batch, step=self._step)
        return reduced(losses, targets, num_items_in_batch, ignore_index=self._ledger.ignore_index)

    def on_init_end(self, args: Any, *_: Any, model: Any = None, **__: Any) -> None:
        """Hook into the model."""
        self._hook(args, model)

    def on_train_begin(self, args: Any, state: Any, _control: Any, model: Any = None, **__: Any) -> None:
        """Hook into the model, for a model that is created late or a callback that is added late."""
        self._step = state.global_step
        self._hook(args, model)

    def on_step_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Store the number of the step."""
        self._step = state.global_step

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Check that the Trainer calls `compute_loss`."""
        if not self._computes_loss:
            raise ValueError(
                "compute_loss_func: the Trainer does not call compute_loss of the ledger's callback, so no loss is recorded; pass it "
                "too: compute_loss_func=callback.compute_loss"
            )

    def on_save(self, *_: Any, **__: Any) -> None:
        """Write the ledger, with each checkpoint and at the end."""
        self._ledger.flush()

    on_train_end = on_save

    def _hook(self, args: Any, model: Any) -> None:
        if args.label_smoothing_factor:
            raise ValueError(
                f"label_smoothing_factor: is {args.label_smoothing_factor}, which the Trainer ignores if it has a "
                "compute_loss_func; set it to 0, or train without the ledger"
            )
        if model is None:
            return
        self._is_hooked = True
        if earlier := getattr(model, _HOOK, None):
            earlier.remove()
        setattr(model, _HOOK, model.register_forward_pre_hook(self._take, with_kwargs=True))

    def _take(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Remove the columns of the mixture from the inputs of the model."""
        taken = {name: kwargs[name] for name in _COLUMNS if name in kwargs}
        self._batch = taken if module.training else None
        return args, {name: value for name, value in kwargs.items() if name not in taken}


def trainer_callback(ledger: Recorder) -> Any:
    """Return a callback for ``transformers.Trainer``, whose `compute_loss` is for the Trainer's ``compute_loss_func``."""
    from transformers import TrainerCallback

    class LossLedgerCallback(_TrainerHooks, TrainerCallback):  # type: ignore[misc]
        """Callback that records the losses of a Trainer."""

    return LossLedgerCallback(ledger)


def lightning_callback(ledger: Recorder) -> Any:
    """Return a callback for ``lightning`` or ``pytorch_lightning``, whichever is loaded, else installed."""
    base: Any = _lightning()

    class LossLedgerCallback(base):  # type: ignore[misc]
        """Callback that writes the ledger with each checkpoint, and when the training ends, even by an exception."""

        def on_save_checkpoint(self, *_: Any, **__: Any) -> None:
            """Write the recorded losses."""
            ledger.flush()

        on_train_end = on_exception = on_save_checkpoint

    return LossLedgerCallback()


def _lightning() -> Any:
    """Return the base class of callbacks.

    Raises
    ------
    ImportError
        Neither package is installed.
    """
    for name in sorted(LIGHTNING, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name).Callback
        except ModuleNotFoundError:
            continue
    raise ImportError("Lightning is not installed: pip install lightning")
