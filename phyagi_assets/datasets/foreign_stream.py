"""Streams of other classes, read as if their samples had indices."""

from collections.abc import Iterator
from typing import Any

from phyagi_assets.formatting import counted


class ForeignStream:
    """The samples of an iterable dataset in its own order: each read takes the next one, whatever the index.

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
        self._samples: Iterator[Any] | None = None
        self._taken = 0

    def begin(self) -> None:
        """Begin again with the first sample."""
        self._samples, self._taken = None, 0

    def __len__(self) -> int:
        return len(self._stream)

    def __getitem__(self, idx: int) -> Any:
        if self._samples is None:
            self._samples = iter(self._stream)
        try:
            sample = next(self._samples)
        except StopIteration:
            raise RuntimeError(
                f"datasets: a {self.name} ended after {counted(self._taken, 'sample')}, and its weight asks for more; give a stream that "
                "goes on, or set endless to False and its weight to 1 or less"
            ) from None
        self._taken += 1
        return sample

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_samples": None, "_taken": 0}
