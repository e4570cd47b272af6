"""Streams of other classes, read as if their samples had indices."""

from collections.abc import Iterator
from typing import Any


class ForeignStream:
    """The samples of an iterable dataset in its own order. Each read returns the next sample, regardless of the index. The dataset repeats.

    Raises
    ------
    ValueError
        The stream has no length.
    """

    def __init__(self, stream: Any) -> None:
        self.name = type(stream).__name__
        if not hasattr(stream, "__len__"):
            raise ValueError(f"datasets: a {self.name} is a stream without a length; give a map-style dataset, or the stream a __len__")
        self._stream = stream
        self._length = len(stream)  # for all ranks: once the stream knows its rank, it may count only its own part
        self._samples: Iterator[Any] | None = None

    @property
    def seq_len(self) -> Any:
        """The `seq_len` of the stream."""
        return self._stream.seq_len

    @property
    def has_state(self) -> bool:
        """Whether the stream can save its position and resume from it."""
        return all(hasattr(self._stream, name) for name in ("state_dict", "load_state_dict"))

    def begin(self) -> None:
        """Begin again with the first sample."""
        self._samples = None

    def state_dict(self) -> Any:
        """Return the state of the stream."""
        return self._stream.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Resume the stream from a state."""
        self._stream.load_state_dict(state)
        self._samples = None

    def set_rank_and_world_size(self, rank: int | None, world_size: int | None) -> None:
        """Pass the rank of this process and the number of processes to the stream, if it divides its samples by them."""
        if hasattr(self._stream, "set_rank_and_world_size"):
            self._stream.set_rank_and_world_size(rank, world_size)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, idx: int) -> Any:
        for _ in range(2):  # the rest of one pass over the stream, and the next pass
            if self._samples is None:
                self._samples = iter(self._stream)
            try:
                return next(self._samples)
            except StopIteration:
                self._samples = None
        raise RuntimeError(f"datasets: a {self.name} has a length of {self._length}, but yields no sample")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_samples": None}
