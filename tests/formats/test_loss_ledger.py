"""Damaged files of a ledger of losses: an error that names the file, never a traceback or other losses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.loss_ledger import LedgerHeader, LossRows, last_header, read_ledger, write_part

ROWS = 20


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """The only file of a ledger."""
    numbers = np.arange(ROWS)
    rows = LossRows(
        step=numbers,
        position=numbers,
        corpus=numbers * 0,
        document=numbers * 0 - 1,
        tokens=numbers + 1,
        loss=numbers / 7,
        names=("plays",),
    )
    return write_part(tmp_path, LedgerHeader(mixture="mix", plan="a1", seq_len=64, run=0, rank=0, world_size=1), 0, rows)


def test_flipped_bit_is_an_error_or_changes_nothing(part: Path) -> None:
    content, before = part.read_bytes(), read_ledger(part.parent)
    problems = []
    for at in range(0, len(content), 29):
        part.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        try:
            last_header(part.parent)
            after = read_ledger(part.parent)
        except StoreError as problem:
            problems.append(str(problem))
            continue
        for column in ("step", "position", "corpus", "document", "tokens", "loss"):
            assert np.array_equal(getattr(after.rows, column), getattr(before.rows, column)), (at, column)
    assert len(problems) > 50
    assert all(problem.startswith(f"{part}: ") for problem in problems)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "loss",
            None,
            r"has the columns step \(int64\), position \(int64\), corpus \(.*\), document \(int32\), tokens \(int32\); a ledger",
        ),
        ("step", pa.array(["1"] * ROWS), r"has the columns step \(string\)"),
        ("corpus", pa.array(["plays"] * ROWS), r"corpus \(string\)"),
        ("tokens", pa.array([None] * ROWS, pa.int32()), "values are missing in tokens"),
        ("position", pa.array([-1] * ROWS), "negative"),
    ],
)
def test_wrong_column_is_an_error_with_the_file(part: Path, column: str, values: pa.Array | None, message: str) -> None:
    table = pq.read_table(part)
    at = table.schema.names.index(column)
    pq.write_table(table.drop_columns([column]) if values is None else table.set_column(at, column, values), part)
    with pytest.raises(StoreError, match=f"{part}: is damaged .*{message}"):
        read_ledger(part.parent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (None, "is not an object"),
        ({"plan": 1, "seq_len": "64"}, "no valid plan, seq_len"),
        ({"run": 7}, "part of run 7"),
        ({"format": 2}, "has format 2"),
    ],
)
def test_wrong_metadata_is_an_error_with_the_file(part: Path, changes: dict[str, Any] | None, message: str) -> None:
    table = pq.read_table(part)
    key, content = next((key, content) for key, content in table.schema.metadata.items() if key.startswith(b"phyagi"))
    changed = [] if changes is None else {**json.loads(content), **changes}
    pq.write_table(table.replace_schema_metadata({key: json.dumps(changed)}), part)
    for read in (last_header, read_ledger):
        with pytest.raises(StoreError, match=f"{part}: .*{message}"):
            read(part.parent)


def test_file_without_rows_is_an_error(part: Path) -> None:
    pq.write_table(pq.read_table(part).slice(0, 0), part)
    with pytest.raises(StoreError, match=f"{part}: is damaged .*no rows"):
        read_ledger(part.parent)
