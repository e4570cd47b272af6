"""Resuming a loader in Lightning, which counts epochs and batches.

Lightning saves the state of a loader with each checkpoint, but restores it only if the checkpoint was saved within an epoch, because other
loaders restart in each epoch. It also saves the number of batches read in the epoch, and ends a resumed epoch by this number.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any, Self

from phyagi_assets.datasets.mixture_stream import MixtureStream

logger = logging.getLogger(__name__)

LIGHTNING = ("lightning.pytorch", "pytorch_lightning")
"""The packages of Lightning, whose modules have the same names."""
_FIT_LOOPS = frozenset(f"{package}.loops.fit_loop" for package in LIGHTNING)


def fit_loop() -> Any:
    """Return the fit loop of Lightning that is on the call stack, or None."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") in _FIT_LOOPS:
            return frame.f_locals["self"]
        frame = frame.f_back  # type: ignore[assignment]
    return None


def require_same_step(state: Mapping[str, Any], step: int) -> None:
    """Check that a state that Lightning loads within an epoch was saved with the current number of samples per step.

    If a number of steps ends the training, instead of a number of epochs, a difference is only logged.

    Raises
    ------
    ValueError
        The numbers differ, and the number of epochs ends the training.
    """
    loop, saved = fit_loop(), state.get("step", step)
    if loop is None or step == saved:
        return
    problem = (
        f"step: Lightning has counted batches of {saved} samples on all processes together, and now reads {step}, so it would end this "
        "epoch in the wrong place"
    )
    if loop.max_steps == -1:
        raise ValueError(
            f"{problem}; resume with as many processes and samples per batch as before, or from a checkpoint saved at the end of an epoch, "
            "or end the training with max_steps instead of max_epochs"
        )
    logger.warning("%s; the next epoch continues from there, in the order of the plan", problem)


class EpochsOfLightning:
    """Replacement for a loader's batch sampler and its sampler, which Lightning calls with the number of each epoch.

    If the loader had a `sampler` itself, Lightning would assume that it may shuffle.

    Parameters
    ----------
    loader
        The loader.
    stream
        The stream of the loader.
    is_untouched
        Whether nothing was read from the loader, and neither a position nor a state was set.
    """

    def __init__(self, loader: Any, stream: MixtureStream, *, is_untouched: bool) -> None:
        self._loader, self._stream, self._is_untouched = loader, stream, is_untouched

    @property
    def sampler(self) -> Self:
        """The object itself."""
        return self

    @property
    def batch_size(self) -> int:
        """Samples per batch, for DeepSpeed."""
        return self._stream.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Load the state of a checkpoint that was saved at the end of an epoch, before the next epoch begins.

        Raises
        ------
        ValueError
            Lightning has created a new loader for this epoch, which would read the samples of the first epoch again.
        """
        if not epoch or not self._is_untouched or (loop := fit_loop()) is None:
            return
        stateful = [loader for loader in loop._combined_loader.flattened if hasattr(loader, "load_state_dict")]
        states = loop._combined_loader_states_to_load
        number = next((number for number, loader in enumerate(stateful) if loader is self._loader), None)
        if number is None:
            return  # a validation loader, which reads its whole split each time
        if number < len(states) and states[number] is not None:
            self._stream.load_state_dict(states[number])
            states[number] = None  # not for the loader of the next epoch
        elif loop.trainer.reload_dataloaders_every_n_epochs:
            raise ValueError(
                f"position: Lightning makes a new loader for epoch {epoch} (reload_dataloaders_every_n_epochs), which begins at position 0 "
                "again; return the same MixtureLoader each time, or set the position of the new one, even if it is 0"
            )
