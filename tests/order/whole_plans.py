"""Draw whole plans: text cut from one stream, packed text, conversations with masks, several segments, stages, and corpora for evaluation.

The content of a partition is a function of its corpus, key and version, so that plans can share files; see `write_partitions`.
"""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.cache_folder import DOCUMENTS, HASHES, IDS, ORIGINS
from phyagi_assets.formats.cache_tokenizer import BACKEND
from phyagi_assets.formats.packed_index import LENGTHS, SAMPLES, STARTS
from phyagi_assets.formats.plan import Plan, PlannedPartition
from phyagi_assets.formats.trained_bits import MASK, MaskWriter
from phyagi_assets.order.planning import evaluated_corpus, extended, with_evaluation
from phyagi_assets.store.manifest import MANIFEST, Manifest
from tests.order.packed_plans import documents, open_index
from tests.order.plans import SHUFFLES, plan_of

CORPORA = ("one", "two", "chats", "exam")
"""Names of corpora. The conversations of ``chats`` have a mask, and ``exam`` is never trained on."""
DOCUMENT_LENGTHS = {"a": [], "b": [1], "c": [3, 1, 1], "d": [9, 2, 4, 1], "e": [4, 4, 3, 3, 2, 13], "f": [2] * 9 + [5]}
"""Lengths of the training documents of partitions: none, few, longer than a sample, and as long as one."""
VALIDATION_LENGTHS = {"a": [2, 5], "c": [4], "e": [1, 1, 6]}
VERSIONS = "12"
"""A version has its number of times as many documents."""
_ROOM = 64
"""Largest number of tokens of a token array; no two arrays have a token id in common."""
_SPLITS = ("train", "validation")
AMOUNTS = st.sampled_from([{"weight": weight} for weight in (0.2, 1.0, 1.7, 4.0)] + [{"share": share} for share in (0.05, 0.3)])

Content = tuple[list[MixturePart], dict[str, list[PlannedPartition]]]
"""Corpora with their amounts, and the partitions of each."""


def planned(corpus: str, key: str, version: str, *, is_packed: bool) -> PlannedPartition:
    """Return a partition in a plan."""
    lengths = {split: lengths_of(key, version, split) for split in _SPLITS}
    partition = documents(f"{corpus}-{key}", version, **lengths)
    shards = partition.shards
    if corpus == "chats":
        trained = {split: int(mask_of(key, version, split).sum()) for split in shards}
        shards = {split: replace(shard, trained=trained[split]) for split, shard in shards.items()}
    return replace(partition, shards=shards, index=partition.index if is_packed else None)


def lengths_of(key: str, version: str, split: str) -> list[int]:
    """Return the lengths of the documents of a token array."""
    return (DOCUMENT_LENGTHS if split == "train" else VALIDATION_LENGTHS).get(key, []) * int(version)


def mask_of(key: str, version: str, split: str) -> Any:
    """Return which tokens of an array of conversations are trained on: the second half of each."""
    return np.array([token >= length // 2 for length in lengths_of(key, version, split) for token in range(length)], dtype=bool)


def ids_of(corpus: str, key: str, version: str, split: str) -> Any:
    """Return the token ids of an array; 0 is padding."""
    names = [*DOCUMENT_LENGTHS]
    number = ((CORPORA.index(corpus) * len(names) + names.index(key)) * len(VERSIONS) + VERSIONS.index(version)) * 2 + _SPLITS.index(split)
    return 1 + number * _ROOM + np.arange(sum(lengths_of(key, version, split)), dtype=np.uint16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """The place that a token id encodes."""

    corpus: str
    file: str
    row: int
    place: int
    """Index of the token in its document."""
    is_trained: bool


@lru_cache(maxsize=1)
def tokens() -> dict[int, Token]:
    """Return every token by its id."""
    found = {}
    for corpus, key, version, split in _arrays():
        ids, mask = ids_of(corpus, key, version, split).tolist(), mask_of(key, version, split).tolist()
        rows = [(row, place) for row, length in enumerate(lengths_of(key, version, split)) for place in range(length)]
        for token, (row, place), trained in zip(ids, rows, mask, strict=True):
            file, is_trained = f"{corpus}-{key}@{version}-{split}.jsonl", trained or corpus != "chats"
            found[token] = Token(corpus=corpus, file=file, row=row, place=place, is_trained=is_trained)
    return found


def _arrays() -> list[tuple[str, str, str, str]]:
    return [
        (corpus, key, version, split)
        for corpus in CORPORA
        for key in DOCUMENT_LENGTHS
        for version in VERSIONS
        for split in _SPLITS
        if lengths_of(key, version, split)
    ]


@st.composite
def contents(draw: st.DrawFn, packs: bool | None = None) -> Content:
    """Draw the content of a mixture at one time; without `packs`, a corpus is packed or not, also the same one at different times."""
    names = draw(st.lists(st.sampled_from(CORPORA[:3]), min_size=1, unique=True))
    amounts = [draw(AMOUNTS) for _ in names]
    amounts[0] = {"weight": 1.0}
    found = {name: draw(_partitions(name, packs)) for name in names}
    return [MixturePart(corpus=name, **amount) for name, amount in zip(names, amounts, strict=True)], found


@st.composite
def _partitions(draw: st.DrawFn, corpus: str, packs: bool | None) -> list[PlannedPartition]:
    keys = draw(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True).filter(lambda keys: bool(set(keys) & set("def"))))
    is_packed = draw(st.booleans()) if packs is None else packs
    return [planned(corpus, key, draw(st.sampled_from("112")), is_packed=is_packed) for key in keys]


CHANGES = st.lists(st.tuples(st.integers(1, 50), contents(), st.booleans()), max_size=3)


@st.composite
def histories(draw: st.DrawFn) -> list[Plan]:
    """Draw the plans of a mixture whose declaration changes as training goes on, each extending the one before by a segment or a stage."""
    parts, found = draw(contents())
    plans = [plan_of(found, parts, concat=draw(st.sampled_from(["interleaved", "sequential"])), shuffle=draw(st.sampled_from(SHUFFLES)))]
    for number, (positions, (parts, found), is_stage) in enumerate(draw(CHANGES)):
        before = plans[-1]
        plan = extended(before, f"plan {number}", before.current.start + positions, parts, found)
        if is_stage:  # the last segment of the same plan
            plans[-1] = replace(plan, fingerprint=before.fingerprint, ancestors=before.ancestors)
        else:
            plans.append(plan)
    if draw(st.booleans()):
        evaluated = evaluated_corpus("exam", draw(_partitions("exam", None)))
        plans[-1] = with_evaluation(plans[-1], [evaluated])
    return plans


def write_partitions(home: Path) -> Path:
    """Write the files of all partitions that plans can have."""
    vocabulary = {f"w{token}": token for token in range(1 + max(tokens()))}
    tokenizer = {"version": "1.0", "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"}}
    (home / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    folders: dict[str, list[tuple[str, str, str, str]]] = {}
    for corpus, key, version, split in _arrays():
        folders.setdefault(f"{corpus}-{key}@{version}", []).append((corpus, key, version, split))
    for name, arrays in folders.items():
        folder = home / name
        (folder / BACKEND).parent.mkdir(parents=True)
        (folder / BACKEND).hardlink_to(home / "tokenizer.json")
        files = [f"{name}-{split}.jsonl" for split in _SPLITS]
        manifest = Manifest.expected("numpy_cache", code_version="2", inputs={}, settings={})
        (folder / MANIFEST).write_text(replace(manifest, details={"files": files}).to_json(), encoding="utf-8")
        for array in arrays:
            _write_array(folder, *array)
    return home


def _write_array(folder: Path, corpus: str, key: str, version: str, split: str) -> None:
    ids, lengths = ids_of(corpus, key, version, split), lengths_of(key, version, split)
    rows = np.arange(len(lengths), dtype=np.int64)
    index = planned(corpus, key, version, is_packed=True).index
    assert index is not None
    samples = open_index(index, split)
    columns = {
        IDS: ids,
        DOCUMENTS: np.cumsum(lengths, dtype=np.int64),
        ORIGINS: np.stack([np.full_like(rows, _SPLITS.index(split)), rows], axis=1),
        HASHES: rows.astype(np.uint64),
        STARTS: samples.starts,
        LENGTHS: samples.lengths,
        SAMPLES: samples.ends,
    }
    for ending, column in columns.items():
        np.save(folder / f"{split}{ending}", column)
    if corpus == "chats":
        with MaskWriter(folder / f"{split}{MASK}") as writer:
            writer.append(mask_of(key, version, split))
