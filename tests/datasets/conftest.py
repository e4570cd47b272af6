"""A small tokenizer, and resets of the state that trainers leave in the test process."""

import functools
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import save_small_gpt2

WORKER_ITERATORS = (
    ("torch.utils.data.dataloader", "_MultiProcessingDataLoaderIter"),
    ("torchdata.stateful_dataloader.stateful_dataloader", "_StatefulMultiProcessingDataLoaderIter"),
)

_PROCESS = os.getpid()
"""The process that runs the tests."""
_POSTPONED: list[Any] = []
"""Iterators that were deleted in other threads than the main one."""


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_gpt2(tmp_path_factory.mktemp("small") / "gpt2")


@pytest.fixture(scope="session")
def small(small_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_folder)


@pytest.fixture(scope="session")
def imports_of_trainers() -> None:
    """Leave what trainers import to itself: accelerate collects garbage at each training, and would walk through it."""
    import torch._dynamo
    import transformers

    assert torch._dynamo
    assert transformers.Trainer
    assert transformers.GPT2LMHeadModel
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _patience_with_loader_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loader workers take their time to end.

    A worker that has not ended after 5 seconds is terminated, and torch then raises an error in whatever code runs at that moment, such as
    `logging` with its lock held.
    """
    if utilities := sys.modules.get("torch.utils.data._utils"):
        monkeypatch.setattr(utilities, "MP_STATUS_CHECK_INTERVAL", 60.0)


@pytest.fixture(autouse=True)
def _loaders_end_with_their_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the workers of loaders that a test leaves in the middle, or in reference cycles.

    The garbage collector may finalize their queues first; torch would then wait for workers that are never told to end.
    """
    iterators: weakref.WeakSet[Any] = weakref.WeakSet()
    for name, class_name in WORKER_ITERATORS:
        if module := sys.modules.get(name):
            class_ = getattr(module, class_name)
            monkeypatch.setattr(class_, "__init__", _recorded(class_.__init__, iterators))
            monkeypatch.setattr(class_, "__del__", _end_workers)
    yield
    for iterator in [*iterators, *_POSTPONED]:
        _end_workers(iterator)
    _POSTPONED.clear()


def _recorded(init: Any, instances: weakref.WeakSet[Any]) -> Any:
    """Return an `__init__` that adds the instance to a set."""

    @functools.wraps(init)
    def recorded(self: Any, *arguments: Any, **options: Any) -> None:
        instances.add(self)
        init(self, *arguments, **options)

    return recorded


def _end_workers(iterator: Any) -> None:
    """Kill the workers of a loader's iterator, which may ignore SIGTERM by a handler that they inherit, and release what it holds.

    They are gone before torch's handler of SIGCHLD is back: it would raise an error about a killed worker, at any line.
    """
    if iterator._shutdown or os.getpid() != _PROCESS:  # a worker has inherited it
        return
    if threading.current_thread() is not threading.main_thread():  # which alone can set handlers
        _POSTPONED.append(iterator)
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        for worker in iterator._workers:
            worker.kill()
            worker.join()
    finally:
        signal.signal(signal.SIGCHLD, handler)
    iterator._shutdown_workers()


@pytest.fixture(autouse=True)
def _without_accelerate_afterwards() -> Iterator[None]:
    """Remove the state that a Trainer leaves in this process; streams reject some uses while accelerate is active."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)
