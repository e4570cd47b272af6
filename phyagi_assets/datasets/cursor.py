"""The start of the next iteration over a dataset, in memory that loader workers share.

Persistent loader workers see changes. Only a loader worker itself knows how far it has read.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

import torch
from torch.utils.data import get_worker_info

_MOVES, _BEGUN, _LOADER = "moves", "moves when loader workers began", "seed of the loader whose workers began"


class Cursor:
    """Named integers that define the start of the next iteration, in memory that loader workers share.

    A loader worker uses the shared numbers until it begins to read or loads a state; from then on it uses its own. Training processes that
    are forked or spawned with a cursor, such as ranks of Lightning, inherit its memory; each of them copies the numbers.

    Parameters
    ----------
    **numbers
        Names and initial values.
    """

    def __init__(self, **numbers: int) -> None:
        self._places = {name: place for place, name in enumerate((*numbers, _MOVES, _BEGUN, _LOADER))}
        self._training_process = os.getpid()
        self._share(torch.tensor([*numbers.values(), 0, -1, 0], dtype=torch.int64))
        self._begun_here: int | None = None
        """Value of `moves` when this loader worker last began an iteration."""
        self._own: dict[str, int] = {}
        """Numbers of this loader worker."""
        self.is_loaded_here = False
        """Whether the numbers of this loader worker come from a state from which its next iteration resumes."""

    def __getitem__(self, name: str) -> int:
        self.require_own()
        own = self._own.get(name)
        return int(self._cells[self._places[name]]) if own is None else own

    def shared(self, name: str) -> int:
        """Return a number of the training process, even in a loader worker with its own number."""
        return int(self._cells[self._places[name]])

    def put(self, **numbers: int) -> None:
        """Change numbers while reading; in a loader worker, only its own numbers."""
        if get_worker_info() is None:
            self._share_numbers(numbers)
        else:
            self._own.update(numbers)

    def setter(self, first: str, second: str) -> Callable[[int, int], None]:
        """Return a function that changes two numbers as `put` does, fast enough to be called for every batch."""
        self.require_own()
        cells: Any = self._cells
        one: Any = self._places[first]
        other: Any = self._places[second]
        if get_worker_info() is not None:
            cells, one, other = self._own, first, second

        def put(number: int, another: int) -> None:
            cells[one] = number
            cells[other] = another

        return put

    def move(self, **numbers: int) -> None:
        """Change the shared numbers on request, and allow loader workers to begin another iteration."""
        self._share_numbers(numbers)
        self._share_numbers({_MOVES: self.moves + 1})

    def load(self, **numbers: int) -> None:
        """Resume the next iteration from the numbers of a state: in this loader worker, or in a training process and all its workers."""
        if get_worker_info() is None:
            self.move(**numbers)
        else:
            self._own = numbers
            self.is_loaded_here = True

    def forget_own(self) -> None:
        """Use the shared numbers again in this loader worker."""
        self._own = {}
        self.is_loaded_here = False

    @property
    def is_read_by_workers(self) -> bool:
        """Whether loader workers have begun an iteration since the last move, of which this process does not know the delivered part."""
        return self[_BEGUN] == self[_MOVES]

    @property
    def moves(self) -> int:
        """Number of moves of the cursor."""
        return self[_MOVES]

    def begin_in_worker(self, moves: int) -> bool:
        """Record that this loader worker begins an iteration after `moves` moves, and return whether it is the first one since then."""
        worker = get_worker_info()
        assert worker is not None
        loader = worker.seed - worker.id  # the loader's seed, which is the same in all of its workers, and only in them
        is_first = self._begun_here != moves and (self[_BEGUN] != moves or self[_LOADER] == loader)
        self._begun_here = moves
        if is_first and moves == self.moves:
            self._share_numbers({_LOADER: loader})  # before the number of moves, because other workers read that first
            self._share_numbers({_BEGUN: moves})
        return is_first

    def require_own(self) -> None:
        """Copy the numbers to separate memory if this training process inherited the memory of another one, by fork or spawn."""
        if self._training_process != os.getpid() and get_worker_info() is None:
            self._training_process = os.getpid()
            self._share(self._memory.clone())

    def _share_numbers(self, numbers: Mapping[str, int]) -> None:
        self.require_own()
        for name, number in numbers.items():
            self._cells[self._places[name]] = number

    def _share(self, memory: torch.Tensor) -> None:
        self._memory = memory.share_memory_()  # type: ignore[no-untyped-call]
        self._cells = memory.numpy()  # a view of the same memory, with faster access
        _cursors.add(self)

    def __getstate__(self) -> dict[str, Any]:
        self.require_own()
        return {name: value for name, value in self.__dict__.items() if name != "_cells"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._share(self._memory)


_cursors: WeakSet[Cursor] = WeakSet()
"""All cursors of this process."""


def _require_own() -> None:
    for cursor in list(_cursors):
        cursor.require_own()


os.register_at_fork(before=_require_own)  # loader workers must share the memory of their training process, not of its parent
