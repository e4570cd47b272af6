"""Read and check ``mixture.json``.

The file decides what training reads, so nothing in it is trusted: the type and the range of every value are checked, and counts that
follow from other counts must agree with them. An error names the file and the key.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import xxhash

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan import (
    EVALUATION_FORMAT,
    MASKED_FORMAT,
    OLDEST_FORMAT,
    PACKED_FORMAT,
    PIECES_FORMAT,
    WINDOWED_FORMAT,
    Ancestor,
    Cut,
    Group,
    Plan,
    PlannedCorpus,
    PlannedIndex,
    PlannedPartition,
    PlannedPiece,
    Segment,
    Shard,
    Source,
    Window,
    samples_in,
)
from phyagi_assets.store.base import VERSIONS
from phyagi_assets.store.manifest import MANIFEST, Manifest

_NEWEST_FORMAT = PIECES_FORMAT
_MOST = 1 << 62
"""Largest count; sums of counts and positions have to fit in 64 bits."""
_DTYPE = re.compile(r"(u?)int(8|16|32|64)")

Key = tuple[str | int, ...]
"""Keys and indices that lead to a value in the file."""


class _Refused(Exception):
    """A value that is not allowed in a plan."""

    def __init__(self, key: Key, found: str) -> None:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")
        super().__init__(f"{where}: {found}" if where else found)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """A kind of value."""

    described: str
    """Noun phrase for error messages."""
    fits: Callable[[Any], bool]
    """Function that tells whether a value is of this kind."""


def _integer(least: int = 0, most: int = _MOST) -> _Kind:
    return _Kind(described=f"a whole number from {least} to {most}", fits=lambda value: type(value) is int and least <= value <= most)


def _is_amount(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value) and value >= 0)


_COUNT = _integer()
_DRAWS = _Kind(described="a whole number, 0 or more", fits=lambda value: type(value) is int and value >= 0)
"""Count without an upper limit: a plan that draws too many samples is refused when its order is opened, but can be read to clean it up."""
_ID = _Kind(described="a token id or null", fits=lambda value: value is None or _COUNT.fits(value))
_TEXT = _Kind(described="text", fits=lambda value: type(value) is str)
_FLAG = _Kind(described="true or false", fits=lambda value: type(value) is bool)
_LIST = _Kind(described="a list", fits=lambda value: type(value) is list)
_OBJECT = _Kind(described="an object", fits=lambda value: type(value) is dict)
_AMOUNT = _Kind(described="a number, 0 or more, or null", fits=_is_amount)
_INDICES = _Kind(described="a list of whole numbers", fits=lambda value: type(value) is list and all(type(of) is int for of in value))
_CONCAT = _Kind(described='"interleaved" or "sequential"', fits=lambda value: value in ("interleaved", "sequential"))
_INTEGERS = _Kind(described="an integer dtype such as uint16", fits=lambda value: type(value) is str and bool(_DTYPE.fullmatch(value)))

_PLAN = {
    "name": _TEXT,
    "fingerprint": _TEXT,
    "seq_len": _integer(1, 1 << 31),
    "seed": _integer(0, (1 << 63) - 1),
    "dtype": _INTEGERS,
    "tokenizer": _TEXT,
    "concat": _CONCAT,
    "shuffle": _FLAG,
    "corpora": _LIST,
    "segments": _LIST,
    "ancestors": _LIST,
    "format": _COUNT,
}
_SHARD = {"path": _TEXT, "tokens": _COUNT, "documents": _COUNT}
_PIECE = {"number": _COUNT, "tokens": _COUNT}
_PARTITION = {"key": _TEXT, "fingerprint": _TEXT, "shards": _OBJECT}
_CORPUS = {"name": _TEXT, "partitions": _LIST}
_ANCESTOR = {"fingerprint": _TEXT, "agrees_until": _COUNT}
_SEGMENT = {"start": _COUNT, "sources": _LIST}
_SOURCE = {"corpus": _COUNT, "weight": _AMOUNT, "share": _AMOUNT, "rate": _DRAWS, "drawn": _DRAWS, "groups": _LIST}
_GROUP = {"partitions": _INDICES, "samples": _COUNT, "offset": _COUNT, "key": _integer(0, (1 << 64) - 1)}
_INDEX = {"path": _TEXT, "fingerprint": _TEXT, "samples": _OBJECT, "merged": _FLAG}
_CUT = {"place": _COUNT, "start": _COUNT, "stop": _COUNT}
_SINCE = {
    "trained": MASKED_FORMAT,
    "index": PACKED_FORMAT,
    "packed": PACKED_FORMAT,
    "block": WINDOWED_FORMAT,
    "evaluation": EVALUATION_FORMAT,
    "pieces": PIECES_FORMAT,
}
"""First format that has a key which objects may be without."""


def read_plan(path: Path) -> Plan:
    """Read a plan and check it.

    Raises
    ------
    StoreError
        The file does not exist, is not a plan, was changed after it was written, was written by a newer release, or contradicts itself.
    """
    try:
        content = path.read_bytes()
        _verify(path, content)
        text = content.decode("utf-8")
    except OSError as problem:
        raise StoreError(f"{path}: cannot be read: {problem.strerror}") from None
    except ValueError as problem:
        raise StoreError(f"{path}: is not a plan of a mixture: {problem}") from None
    return Plan(**_parsed(text, path))


def _verify(path: Path, content: bytes) -> None:
    """Compare a plan with the manifest beside it: one changed digit would mean another order of training under the same fingerprint.

    A plan that was copied out of its store without its manifest is accepted.
    """
    remedy = "phyagi-assets check --discard removes it, and materialize makes it again"
    manifest = path.with_name(MANIFEST)
    if not manifest.is_file():
        if path.parent.parent.name == VERSIONS:
            raise StoreError(f"{manifest}: is missing, so that nothing tells whether {path.name} is what was written; {remedy}")
        return
    try:
        written = Manifest.read(path.parent).files[path.name]
    except KeyError:
        raise StoreError(f"{manifest}: is not the manifest of a plan; {remedy}") from None
    except StoreError as problem:
        raise StoreError(f"{problem}; {remedy}") from None
    if len(content) != written.bytes or xxhash.xxh3_128_hexdigest(content) != written.xxh3_128:
        raise StoreError(f"{path}: is not what was written (checksum differs), its order would be another; {remedy}")


def _parsed(text: str, path: Path) -> dict[str, Any]:
    """Return the fields of a plan, from the content of its file."""
    try:
        record = json.loads(text)
        format_ = record.get("format") if isinstance(record, dict) else None
        if type(format_) is int and format_ > _NEWEST_FORMAT:
            raise StoreError(
                f"{path}: is a plan of format {format_}, and this release of phyagi-assets reads formats {OLDEST_FORMAT} to "
                f"{_NEWEST_FORMAT}; install the release that wrote it, or a newer one"
            )
        if type(format_) is not int or format_ < OLDEST_FORMAT:
            raise _Refused((), f"has format {format_!r}; this release reads formats {OLDEST_FORMAT} to {_NEWEST_FORMAT}")
        return _PlanFile(format_).plan(record)
    except (ValueError, RecursionError) as problem:
        raise StoreError(f"{path}: is not a plan of a mixture: {problem or type(problem).__name__}") from None
    except _Refused as problem:
        raise StoreError(f"{path}: {problem}") from None


class _PlanFile:
    """Converter from the JSON of one format to the types of `phyagi_assets.formats.plan`."""

    def __init__(self, format_: int) -> None:
        self._format = format_
        self._is_old = format_ == OLDEST_FORMAT
        self._has_window = False
        self._seq_len = 1
        self._corpora: tuple[PlannedCorpus, ...] = ()

    def plan(self, record: Any) -> dict[str, Any]:
        self._has_window = self._format >= WINDOWED_FORMAT and isinstance(record, dict) and isinstance(record.get("shuffle"), dict)
        kinds = {**_PLAN, **({} if self._is_old else {"pad_id": _ID}), **({"shuffle": _OBJECT} if self._has_window else {})}
        found = dict(self._fields(record, kinds, (), evaluation=_INDICES))
        if self._has_window:
            found["shuffle"] = Window(**_fields(found["shuffle"], {"window": _integer(1)}, ("shuffle",)))
        if not self._is_old:
            _check_pad(found["pad_id"], found["dtype"])
        self._seq_len = found["seq_len"]
        self._corpora = tuple(self._corpus(of, ("corpora", i)) for i, of in enumerate(found["corpora"]))
        found["corpora"] = self._corpora
        found["evaluation"] = self._evaluation(found.get("evaluation", ()))
        found["segments"] = tuple(self._segment(of, ("segments", i)) for i, of in enumerate(found["segments"]))
        found["ancestors"] = tuple(Ancestor(**_fields(of, _ANCESTOR, ("ancestors", i))) for i, of in enumerate(found["ancestors"]))
        starts = [segment.start for segment in found["segments"]]
        if not starts or starts[0] != 0 or any(after <= before for before, after in pairwise(starts)):
            raise _Refused(("segments",), f"begin at {starts}; the first segment begins at 0, and each one after the one before it")
        return found

    def _fields(self, record: Any, kinds: Mapping[str, _Kind], key: Key, **later: _Kind) -> dict[str, Any]:
        """Return an object of the file like the function `_fields`; it may also have the keys of `later` if its format does."""
        had = {name: kind for name, kind in later.items() if type(record) is dict and name in record and self._format >= _SINCE[name]}
        return _fields(record, {**kinds, **had}, key)

    def _evaluation(self, numbers: Sequence[int]) -> tuple[int, ...]:
        for i, number in enumerate(numbers):
            if not 0 <= number < len(self._corpora):
                raise _Refused(("evaluation", i), f"is {number}, and the plan has {len(self._corpora)} corpora, counted from 0")
        return tuple(numbers)

    def _corpus(self, record: Any, key: Key) -> PlannedCorpus:
        found = _fields(record, _CORPUS, key)
        partitions = tuple(self._partition(of, (*key, "partitions", i)) for i, of in enumerate(found["partitions"]))
        for split in {split for partition in partitions for split in partition.shards}:
            tokens = sum(partition.shards[split].tokens for partition in partitions if split in partition.shards)
            if tokens > _MOST:
                raise _Refused(key, f"has {tokens} tokens in split {split!r}; the most is {_MOST}")
        return PlannedCorpus(name=found["name"], partitions=partitions)

    def _partition(self, record: Any, key: Key) -> PlannedPartition:
        found = self._fields(record, _PARTITION, key, index=_OBJECT)
        shards = {split: self._shard(of, (*key, "shards", split)) for split, of in found["shards"].items()}
        index = self._index(found["index"], shards, (*key, "index")) if "index" in found else None
        return PlannedPartition(key=found["key"], fingerprint=found["fingerprint"], shards=shards, index=index)

    def _index(self, record: Any, shards: Mapping[str, Shard], key: Key) -> PlannedIndex:
        found = _fields(record, _INDEX, key)
        for split, samples in found["samples"].items():
            tokens = shards[split].tokens if split in shards else 0
            if not _COUNT.fits(samples) or not -(-tokens // self._seq_len) <= samples <= tokens:
                raise _Refused((*key, "samples", split), f"is {_shown(samples)}, which {tokens} tokens cannot make")
        return PlannedIndex(**found)

    def _shard(self, record: Any, key: Key) -> Shard:
        if not self._is_old:
            found = dict(self._fields(record, _SHARD, key, trained=_COUNT, pieces=_LIST))
            pieces = [PlannedPiece(**_fields(of, _PIECE, (*key, "pieces", i))) for i, of in enumerate(found.pop("pieces", ()))]
            shard = Shard(**found, pieces=tuple(pieces))
            if pieces and sum(piece.tokens for piece in pieces) != shard.tokens:
                raise _Refused((*key, "pieces"), f"have {sum(piece.tokens for piece in pieces)} tokens, and the array has {shard.tokens}")
            if any(after.number <= before.number for before, after in pairwise(pieces)):
                raise _Refused((*key, "pieces"), "are not in the order of their numbers")
            if shard.trained is not None and shard.trained > shard.tokens:
                raise _Refused((*key, "trained"), f"is {shard.trained}, and the array has {shard.tokens} tokens")
            return shard
        found = dict(_fields(record, {**_SHARD, "samples": _COUNT}, key))
        samples, own = found.pop("samples"), samples_in(found["tokens"], self._seq_len)
        if samples != own:
            raise _Refused((*key, "samples"), f"is {samples}, and {found['tokens']} tokens make {own}")
        return Shard(**found)

    def _segment(self, record: Any, key: Key) -> Segment:
        found = _fields(record, _SEGMENT if self._is_old else {**_SEGMENT, "crosses": _FLAG}, key)
        sources = tuple(self._source(of, (*key, "sources", i)) for i, of in enumerate(found["sources"]))
        for name in ("rate", "drawn"):
            if not any(getattr(source, name) for source in sources):
                raise _Refused((*key, "sources"), f"have a {name} of 0 together; nothing is read")
        return Segment(start=found["start"], sources=sources, crosses=found.get("crosses", False))

    def _source(self, record: Any, key: Key) -> Source:
        found = dict(_fields(record, _SOURCE, key))
        if found["corpus"] >= len(self._corpora):
            raise _Refused((*key, "corpus"), f"is {found['corpus']}, and the plan has {len(self._corpora)} corpora, counted from 0")
        corpus = self._corpora[found["corpus"]]
        found["groups"] = tuple(self._group(of, corpus, (*key, "groups", i)) for i, of in enumerate(found["groups"]))
        source = Source(**found)
        if (source.weight is None) == (source.share is None):
            raise _Refused(key, "has both a weight and a share, or neither; a source has one of the two")
        if not source.samples:
            raise _Refused((*key, "groups"), "have no sample")
        if source.packed and not all(group.packed for group in source.groups):
            raise _Refused((*key, "groups"), "are packed in part; all groups of a source are packed, or none")
        return source

    def _group(self, record: Any, corpus: PlannedCorpus, key: Key) -> Group:
        kinds = _GROUP if self._is_old else {**_GROUP, "crosses": _FLAG, "cuts": _LIST}
        found = dict(self._fields(record, kinds, key, packed=_FLAG, **({"block": _integer(1)} if self._has_window else {})))
        partitions = found["partitions"] = tuple(found["partitions"])
        if partitions and not 0 <= min(partitions) <= max(partitions) < len(corpus.partitions):
            raise _Refused((*key, "partitions"), f"name a partition that {corpus.name!r} does not have; it has {len(corpus.partitions)}")
        if self._is_old:
            found["crosses"] = False
        found["cuts"] = tuple(Cut(**_fields(of, _CUT, (*key, "cuts", i))) for i, of in enumerate(found.get("cuts", ())))
        group = Group(**found)
        for i, cut in enumerate(group.cuts):
            shard = corpus.partitions[partitions[cut.place]].shards.get("train") if cut.place < len(partitions) else None
            if not group.crosses or shard is None or not cut.start < cut.stop <= shard.tokens:
                raise _Refused((*key, "cuts", i), f"{record['cuts'][i]} is not a part of a partition of the group")
        if group.packed and group.crosses:
            raise _Refused((*key, "crosses"), "is true, and packed samples do not cross partitions")
        if group.packed and (bare := [i for i in partitions if corpus.partitions[i].index is None]):
            raise _Refused((*key, "partitions"), f"are packed, and partition {bare[0]} of {corpus.name!r} has no index")
        if group.block >= max(group.samples, 1):
            raise _Refused((*key, "block"), f"is {group.block}, and the group has {group.samples} samples; a block has fewer")
        own = group.own_samples(corpus, self._seq_len)
        if group.samples != own:
            raise _Refused((*key, "samples"), f"is {group.samples}, and the tokens of the group make {own}")
        return group


def _fields(record: Any, kinds: Mapping[str, _Kind], key: Key) -> dict[str, Any]:
    """Return an object of the file after checking that it has exactly the expected keys, with values of the expected kinds."""
    if type(record) is not dict:
        raise _Refused(key, f"{_shown(record)} is not an object")
    if record.keys() != kinds.keys():
        for name in kinds.keys() - record.keys():
            raise _Refused((*key, name), "is missing")
        for name in record.keys() - kinds.keys():
            raise _Refused((*key, name), "is not a key of a plan")
    for name, kind in kinds.items():
        if not kind.fits(record[name]):
            raise _Refused((*key, name), f"{_shown(record[name])} is not {kind.described}")
    return record


def _check_pad(pad_id: Any, dtype: str) -> None:
    unsigned, bits = _DTYPE.fullmatch(dtype).groups()  # type: ignore[union-attr]
    most = (1 << (int(bits) - (not unsigned))) - 1
    if pad_id is not None and not _integer(0, most).fits(pad_id):
        raise _Refused(("pad_id",), f"{_shown(pad_id)} is not a token id of dtype {dtype}, a whole number from 0 to {most}")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
