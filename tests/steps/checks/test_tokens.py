"""Checks of tokenized documents, and limits on shares of duplicates and of skipped rows."""

from typing import Any

import pyarrow as pa
import pytest

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import LimitsConfig
from phyagi_assets.steps.checks.check import Check
from phyagi_assets.steps.checks.round_trip import ROUND_TRIP
from phyagi_assets.steps.checks.token_ids import EOS, VOCABULARY
from phyagi_assets.steps.checks.tokens import DUPLICATES, INVALID, ROWS, check_tokens
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from tests.support import build, declare_corpus, write_jsonl

TEXTS = ["", "", *(f"Wörter und words, number {i}.\n" * (i % 5 + 1) for i in range(30)), "twice", "twice", None]


@pytest.fixture
def corpus(workspace: Workspace) -> Corpus:
    write_jsonl(workspace.data / "raw.jsonl", TEXTS)
    return declare_corpus(workspace.data, "c", "raw.jsonl", on_invalid="skip")


@pytest.fixture
def artifact(corpus: Corpus, workspace: Workspace) -> Artifact:
    return build(corpus, workspace)["all"][1].artifact


def found(artifact: Artifact, corpus: Corpus, workspace: Workspace, **limits: float) -> dict[str, Check]:
    decoder = workspace.engines.decoder(prepare_tokenizer(corpus, workspace.identities, workspace.store))
    return {check.name: check for check in check_tokens(artifact, LimitsConfig(**limits), decoder)}


def rewritten(artifact: Artifact, column: str, row: int, value: Any) -> None:
    """Change the value of one row."""
    (path,) = artifact.path.glob("*.arrow")
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_stream(file).read_all()
    values = table.column(column).to_pylist()
    values[row] = value(values[row]) if callable(value) else value
    table = table.set_column(
        table.schema.get_field_index(column), table.schema.field(column), pa.array(values, table.schema.field(column).type)
    )
    path.unlink()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def test_valid_tokens_pass(artifact: Artifact, corpus: Corpus, workspace: Workspace) -> None:
    checks = found(artifact, corpus, workspace)
    assert list(checks) == [VOCABULARY, EOS, ROUND_TRIP, ROWS, DUPLICATES, INVALID]
    assert all(check.passed for check in checks.values()), checks
    assert checks[ROWS].numbers["empty documents"] == 2
    assert checks[ROUND_TRIP].numbers["documents decoded"] > 5


@pytest.mark.parametrize(
    ("column", "row", "value", "failing"),
    [
        ("input_ids", 5, lambda ids: [*ids[:-1], 17], {EOS}),
        ("input_ids", 5, lambda ids: [50_300, *ids[1:]], {VOCABULARY, ROUND_TRIP}),
        ("input_ids", 5, lambda ids: ids[1:], {ROWS, ROUND_TRIP}),
        ("length", 5, lambda length: length + 1, {ROWS}),
    ],
)
def test_invalid_row_of_tokens_fails(
    artifact: Artifact, corpus: Corpus, workspace: Workspace, column: str, row: int, value: Any, failing: set[str]
) -> None:
    rewritten(artifact, column, row, value)
    failed = {name for name, check in found(artifact, corpus, workspace).items() if not check.passed}
    assert failed
    assert failed <= failing


def test_ids_of_another_text_fail_the_round_trip(artifact: Artifact, corpus: Corpus, workspace: Workspace) -> None:
    for row in range(2, 32):  # whichever of them are drawn
        rewritten(artifact, "input_ids", row, lambda ids: [ids[1], ids[0], *ids[2:]])
    failed = {name: check for name, check in found(artifact, corpus, workspace).items() if not check.passed}
    assert list(failed) == [ROUND_TRIP]
    assert "decoded to another text than was encoded; the first rows:" in failed[ROUND_TRIP].found


@pytest.mark.parametrize(
    ("name", "key", "share", "said"),
    [
        (DUPLICATES, "duplicates", 1 / 32, "1 of 32 documents whose text occurs earlier"),
        (INVALID, "invalid", 1 / 35, "1 of 35 rows left out, having no text"),
    ],
)
def test_share_beyond_its_limit_fails(
    artifact: Artifact, corpus: Corpus, workspace: Workspace, name: str, key: str, share: float, said: str
) -> None:
    without = found(artifact, corpus, workspace)[name]
    assert (without.passed, without.found) == (True, f"{said}; no limit is declared")
    at = found(artifact, corpus, workspace, **{key: share})[name]
    assert at.passed
    beyond = found(artifact, corpus, workspace, **{key: share / 2})[name]
    assert not beyond.passed
    assert beyond.found.startswith(said)
    assert f"limits.{key} allows" in beyond.found
    assert beyond.numbers["share"] == pytest.approx(share, abs=1e-6)
