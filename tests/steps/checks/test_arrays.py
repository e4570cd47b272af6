"""Checks of token arrays, which find damage even if checksums match."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phyagi_assets.steps.checks.arrays import COUNTS, ENDS, check_arrays
from phyagi_assets.steps.checks.check import Check
from phyagi_assets.steps.checks.token_ids import EOS, VOCABULARY
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.artifact import Artifact
from tests.support import build, declare_corpus, write_jsonl

TEXTS = ["", *(f"Document {i}, of some words. " * (i % 4 + 1) for i in range(40))]


@pytest.fixture
def built(workspace: Workspace) -> tuple[Artifact, Artifact]:
    """A cache of two splits, and its tokenized artifact."""
    write_jsonl(workspace.data / "raw.jsonl", TEXTS)
    _, tokenized, cache = build(declare_corpus(workspace.data, "c", "raw.jsonl", splits={"validation": 0.3}), workspace)["all"]
    return tokenized.artifact, cache.artifact


def found(built: tuple[Artifact, Artifact]) -> dict[str, Check]:
    tokenized, cache = built
    return {check.name: check for check in check_arrays(cache, tokenized.manifest)}


def changed(path: Path, change: Callable[[Any], Any]) -> None:
    array = change(np.load(path))
    path.unlink()
    np.save(path, array)


def with_one(place: int, value: int) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[place] = value
        return array

    return change


def test_valid_arrays_pass_with_their_counts(built: tuple[Artifact, Artifact]) -> None:
    checks = found(built)
    assert list(checks) == [VOCABULARY, EOS, ENDS, COUNTS]
    assert all(check.passed for check in checks.values()), checks
    tokens = sum(of["tokens"] for of in built[1].manifest.counts.values())
    assert checks[COUNTS].numbers == {"documents": 40, "tokens": tokens}


@pytest.mark.parametrize(
    ("file", "change", "failing", "message"),
    [
        ("train.npy", with_one(3, 50_257), {VOCABULARY}, "1 of"),
        ("validation.npy", with_one(-1, 5), {EOS}, "1 of 40 documents without the EOS, 50,256, at the end"),
        ("train.documents.npy", with_one(2, 1), {ENDS, EOS}, "train.documents.npy: document 3 ends at 1, and begins at"),
        ("train.documents.npy", with_one(-1, 10_000), {ENDS, EOS}, "the last document ends at 10,000, and the array at"),
        ("train.documents.npy", lambda ends: ends[:-1], {ENDS, COUNTS}, "the last document ends at"),
        ("train.origins.npy", lambda origins: origins[:-1], {ENDS}, "origins beside"),
        ("train.npy", lambda ids: ids[:-1], {ENDS, COUNTS, EOS}, "the last document ends at"),
    ],
)
def test_problem_of_an_array_is_named(
    built: tuple[Artifact, Artifact], file: str, change: Callable[[Any], Any], failing: set[str], message: str
) -> None:
    changed(built[1].path / file, change)
    failed = {name: check.found for name, check in found(built).items() if not check.passed}
    assert failed.keys() <= failing
    assert any(message in said for said in failed.values()), failed


def test_counts_that_differ_from_the_tokenized_artifact_fail(built: tuple[Artifact, Artifact]) -> None:
    tokenized, cache = built
    of = dict(tokenized.manifest.counts)
    object.__setattr__(tokenized.manifest, "counts", {**of, "tokens": of["tokens"] + 1})
    (failed,) = [check for check in check_arrays(cache, tokenized.manifest) if not check.passed]
    assert failed.name == COUNTS
    assert "the tokenized artifact 40 with" in failed.found
