"""Ranges that are fetched into memory, without the cache."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from phyagi_assets.objects.fetching import FetchingProcess, PartRequest
from phyagi_assets.reading.byte_ranges import LARGEST_TOGETHER, RemoteArray

_GAP = 512
"""Largest number of unused bytes between two ranges that are fetched together."""

RangeKey = tuple[int, int, int]
"""A range: the index of its array, its first byte, and the byte after its last one."""


class SingleRanges:
    """Ranges of arrays that are being fetched into memory, or have arrived there."""

    def __init__(self, arrays: Sequence[RemoteArray], fetching: FetchingProcess) -> None:
        self._arrays, self._fetching = arrays, fetching
        self._parts: dict[RangeKey, tuple[Future[bytes], int]] = {}
        """Future of the request that fetches each range, and offset of the range in its bytes."""

    def __contains__(self, key: RangeKey) -> bool:
        return key in self._parts

    def request(self, keys: Iterable[RangeKey], urgency: int) -> None:
        """Fetch ranges, together where they are close to each other."""
        requests: list[PartRequest] = []
        together: list[list[RangeKey]] = []
        for key in sorted(keys):
            if key in self._parts:
                continue
            number, begin, end = key
            last = requests[-1] if requests and together[-1][-1][0] == number else None
            if last and begin <= last.stop + _GAP and end - last.start <= LARGEST_TOGETHER:
                requests[-1] = replace(last, stop=max(end, last.stop))
                together[-1].append(key)
            else:
                array = self._arrays[number]
                requests.append(PartRequest(key=array.key, start=begin, stop=end, size=array.size, urgency=urgency))
                together.append([key])
        if requests:
            for request, part, ranges in zip(requests, self._fetching.submit(requests), together, strict=True):
                self._parts.update({key: (part, key[1] - request.start) for key in ranges})

    def take(self, key: RangeKey) -> memoryview | None:
        """Wait for a range, and return its bytes, which are forgotten here; None if it was not requested."""
        if (found := self._parts.pop(key, None)) is None:
            return None
        part, place = found
        return memoryview(part.result())[place : place + key[2] - key[1]]

    def clear(self) -> None:
        """Forget all ranges."""
        self._parts.clear()
