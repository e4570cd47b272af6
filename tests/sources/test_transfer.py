"""Transfers: resumption, verification and retries."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.objects.retries import RetryPolicy, TransientError
from phyagi_assets.sources.files import Listing, SourceFile
from phyagi_assets.sources.transfer import Fetched, OnBytes, append_chunks, transfer

CONTENT = bytes(range(256)) * 40
QUICK = RetryPolicy(attempts=4, pause=0.0)


@dataclass(kw_only=True)
class Source:
    """A source whose attempts break off after given numbers of bytes."""

    breaks: list[int] = field(default_factory=list)
    content: bytes = CONTENT
    asked: list[int] = field(default_factory=list)

    def files(self, corpus: Corpus, declared: str) -> Listing:
        raise NotImplementedError

    def fetch(self, file: SourceFile, folder: Path, on_bytes: OnBytes) -> Fetched:
        def chunks(start: int) -> Iterator[bytes]:
            self.asked.append(start)
            end = start + self.breaks.pop(0) if self.breaks else len(self.content)
            for at in range(start, min(end, len(self.content)), 100):
                yield self.content[at : min(at + 100, end)]
            if end < len(self.content):
                raise TransientError("broke off")

        path = append_chunks(folder / "content", file.size, chunks, on_bytes)
        return Fetched(path=path, checksum=str(file.stamp[0]), algorithm="md5")


def listed(content: bytes = CONTENT) -> SourceFile:
    stamp = (hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content))
    return SourceFile(name="file", origin="far://file", size=len(content), stamp=stamp)


def fetched(source: Source, folder: Path, on_bytes: Callable[[int], None] = lambda _: None) -> bytes:
    return transfer(source, listed(), folder / "of-this-version", QUICK, on_bytes).read_bytes()


@given(breaks=st.lists(st.integers(0, len(CONTENT) - 1), max_size=3))
def test_transfer_resumes_where_it_broke_off(tmp_path_factory: pytest.TempPathFactory, breaks: list[int]) -> None:
    source, told = Source(breaks=list(breaks)), 0

    def tell(count: int) -> None:
        nonlocal told
        told += count

    assert fetched(source, tmp_path_factory.mktemp("fetch"), tell) == CONTENT
    assert told == len(CONTENT)
    assert source.asked == sorted(source.asked)


def test_transfer_is_resumed_by_another_process(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"far://file: broke off \(tried 4 times\); what was built before is kept"):
        fetched(Source(breaks=[1000] * 4), tmp_path)
    second = Source()
    assert fetched(second, tmp_path) == CONTENT
    assert second.asked == [4000]
    third = Source()
    assert fetched(third, tmp_path) == CONTENT
    assert third.asked == []


def test_content_with_another_checksum_is_refused(tmp_path: Path) -> None:
    flipped = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    with pytest.raises(SourceError, match=r"has the md5 checksum [0-9a-f]{32}, and the source states"):
        fetched(Source(content=flipped), tmp_path)
    assert fetched(Source(), tmp_path) == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b""])
def test_content_with_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match=r"bytes arrived instead of 10,240"):
        fetched(Source(content=content), tmp_path)


def test_empty_file_is_transferred(tmp_path: Path) -> None:
    source = Source(content=b"")
    assert transfer(source, listed(b""), tmp_path / "empty", QUICK, lambda _: None).read_bytes() == b""


def test_permanent_error_is_not_retried() -> None:
    tries = []

    def action() -> None:
        tries.append(1)
        raise SourceError("access is denied")

    with pytest.raises(SourceError, match=r"^there: access is denied$"):
        QUICK.with_retries("there", action)
    assert len(tries) == 1


def test_pauses_between_retries_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)

    def action() -> None:
        raise TransientError("busy")

    with pytest.raises(SourceError):
        RetryPolicy(attempts=6, pause=1.0).with_retries("there", action)
    assert [2 ** (i - 1) <= pause <= 2**i for i, pause in enumerate(pauses)] == [True] * 5
