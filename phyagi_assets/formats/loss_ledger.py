"""The Parquet files of a ledger of losses: one row per document of each sample that was trained on.

A ledger is a folder. Each rank of each run writes its own parts, atomically, named ``run-RRRR.rank-RRRRR.part-PPPPPP.parquet``. A run is
one start of the training: a resumed training is the next run. If a run repeats steps, it replaces the rows of earlier runs from its first
step on: they stay in their files, and `read_ledger` leaves them out.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.formatting import one_line

WHOLE_SAMPLE = -1
"""Ordinal of the document in a row that covers a whole sample."""
FORMAT = 1
_KEY = b"phyagi_assets.losses"
"""Key of a file's metadata, whose value is a JSON document."""
_NAME = re.compile(r"run-(\d{4,})\.rank-(\d{5,})\.part-(\d{6,})\.parquet")
_SCHEMA = pa.schema(
    {
        "step": pa.int64(),
        "position": pa.int64(),
        "corpus": pa.dictionary(pa.int32(), pa.string()),
        "document": pa.int32(),
        "tokens": pa.int32(),
        "loss": pa.float32(),
    }
)
_REMEDY = "delete the file, which loses its steps, or restore it"


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerHeader:
    """The run that a part of a ledger belongs to."""

    mixture: str
    plan: str
    """Fingerprint of the plan."""
    seq_len: int
    """Tokens per sample."""
    run: int
    """Number of the run, from 0."""
    rank: int
    world_size: int
    format: int = FORMAT


_METADATA = get_type_hints(LedgerHeader) | {"first": int}
"""Types of the required fields of a file's metadata."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossRows:
    """Rows of a ledger, as columns of the same length."""

    step: npt.NDArray[np.int64]
    """Global step, from 0."""
    position: npt.NDArray[np.int64]
    """Position of the sample in the order of training."""
    corpus: npt.NDArray[np.int64]
    """Index into `names`."""
    document: npt.NDArray[np.int64]
    """Ordinal of the document in the sample, from 0, or `WHOLE_SAMPLE`."""
    tokens: npt.NDArray[np.int64]
    """Number of tokens that the loss was computed for."""
    loss: npt.NDArray[np.float64]
    """Sum of their losses, in nats."""
    names: tuple[str, ...]
    """Names of the corpora."""

    @classmethod
    def joined(cls, parts: Sequence["LossRows"], names: tuple[str, ...]) -> "LossRows":
        """Concatenate rows, given the names that their indices refer to."""
        return cls(**{name: np.concatenate([getattr(rows, name) for rows in parts]) for name in _SCHEMA.names}, names=names)

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, chosen: Any) -> "LossRows":
        columns = {name: getattr(self, name)[chosen] for name in _SCHEMA.names}
        return LossRows(**columns, names=self.names)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanUse:
    """A plan that a ledger was written with."""

    mixture: str
    plan: str
    """Fingerprint of the plan."""
    end: int
    """Position after the last one in the rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The rows of a ledger that no later run has replaced, by step and position."""

    folder: Path
    rows: LossRows
    seq_len: int
    """Tokens per sample."""
    runs: int
    ranks: int
    """Largest number of ranks of a run."""
    replaced: int
    """Number of rows that were left out because a later run repeated their steps."""
    plans: tuple[PlanUse, ...]


def part_name(header: LedgerHeader, part: int) -> str:
    """Return the name of the file of a part."""
    return f"run-{header.run:04}.rank-{header.rank:05}.part-{part:06}.parquet"


def write_part(folder: Path, header: LedgerHeader, part: int, rows: LossRows) -> Path:
    """Write a part of a ledger, atomically.

    Parameters
    ----------
    part
        Number of the part, from 0.
    rows
        The rows, at least one.
    """
    corpus = pa.DictionaryArray.from_arrays(pa.array(rows.corpus, pa.int32()), pa.array(rows.names, pa.string()))
    columns: dict[str, Any] = {name: pa.array(getattr(rows, name)) for name in ("step", "position", "tokens")}
    columns |= {"corpus": corpus, "loss": pa.array(rows.loss.astype(np.float32))}
    columns["document"] = pa.array(rows.document, mask=rows.document == WHOLE_SAMPLE)
    described = {**asdict(header), "first": int(rows.step.min()), "last": int(rows.step.max()), "end": int(rows.position.max()) + 1}
    table = pa.table([columns[name].cast(_SCHEMA.field(name).type) for name in _SCHEMA.names], _SCHEMA)
    file = folder / part_name(header, part)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(table.replace_schema_metadata({_KEY: json.dumps(described)}), draft, compression="zstd", write_page_checksum=True)
    draft.replace(file)
    return file


def next_run(folder: Path) -> int:
    """Return the number of the next run of a ledger."""
    return 1 + max((run for run, _, _ in _parts(folder)), default=-1)


def last_header(folder: Path) -> LedgerHeader | None:
    """Return the header of a part from the last run of a ledger; None if the ledger has no parts.

    Raises
    ------
    StoreError
        The part is damaged, or is not part of a ledger.
    """
    parts = _parts(folder)
    return _part(parts[max(parts)], []).header if parts else None


def read_ledger(folder: str | Path) -> Ledger:
    """Read a ledger.

    Returns
    -------
    Ledger
        Rows in the order of their steps and positions.

    Raises
    ------
    PhyagiAssetsError
        The path is not a folder with parts of a ledger.
    StoreError
        A part is damaged, or is not part of a ledger, or parts disagree about the length of samples.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise PhyagiAssetsError(f"{folder}: {what}; name the folder that a LossLedger writes to")
    parts = _parts(folder)
    if not parts:
        raise PhyagiAssetsError(
            f"{folder}: has no part of a ledger (run-*.parquet); name the folder that a LossLedger writes to; it writes the first part at "
            "its first flush()"
        )
    read = [_part(path) for _, path in sorted(parts.items())]
    seq_lens = {part.header.seq_len: part.path for part in read}
    if len(seq_lens) > 1:
        different = ", ".join(f"{length:,} in {path.name}" for length, path in seq_lens.items())
        raise StoreError(f"{folder}: its samples have different lengths: {different}; keep one ledger per length")
    begins: dict[int, int] = {}
    for part in read:
        begins[part.header.run] = min(begins.get(part.header.run, part.first_step), part.first_step)
    kept: list[pa.Table] = []
    plans: dict[tuple[str, str], int] = {}
    for part in read:
        later = [first for run, first in begins.items() if run > part.header.run]
        current = part.table.filter(pc.less(part.table["step"], min(later))) if later else part.table
        if len(current):
            kept.append(current)
            key = part.header.mixture, part.header.plan
            plans[key] = max(plans.get(key, 0), pc.max(current["position"]).as_py() + 1)
    rows = _rows(pa.concat_tables(kept))
    return Ledger(
        folder=folder,
        rows=rows[np.lexsort((rows.document, rows.position, rows.step))],
        seq_len=read[0].header.seq_len,
        runs=len(begins),
        ranks=max(part.header.world_size for part in read),
        replaced=sum(len(part.table) for part in read) - len(rows),
        plans=tuple(PlanUse(mixture=mixture, plan=plan, end=end) for (mixture, plan), end in plans.items()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One file of a ledger."""

    path: Path
    header: LedgerHeader
    first_step: int
    table: pa.Table


def _parts(folder: Path) -> dict[tuple[int, int, int], Path]:
    """Return the files of a ledger, by numbers of run, rank and part."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return {(int(match[1]), int(match[2]), int(match[3])): path for match, path in found if match}


def _part(path: Path, columns: Sequence[str] | None = None) -> _Part:
    """Read a file, or some of its columns."""
    try:
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
        if _KEY not in (table.schema.metadata or {}):
            raise StoreError(f"{path}: is a Parquet file, but not part of a ledger of losses; move it elsewhere")
        described = json.loads(table.schema.metadata[_KEY])
        if not isinstance(described, dict):
            raise ValueError("its metadata is not an object")
        if described.get("format") != FORMAT:
            raise StoreError(f"{path}: has format {described.get('format')}, but this release reads {FORMAT}; upgrade phyagi-assets")
        wrong = [name for name, kind in _METADATA.items() if type(described.get(name)) is not kind]
        if wrong:
            raise ValueError(f"its metadata has no valid {', '.join(wrong)}")
        header = LedgerHeader(**{name: described[name] for name in LedgerHeader.__slots__})
        if not path.name.startswith(part_name(header, 0).rpartition(".part-")[0] + "."):
            raise ValueError(f"it was written as part of run {header.run} of rank {header.rank}")
        if columns is None:
            _check(table)
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise StoreError(f"{path}: is damaged ({one_line(problem)}); {_REMEDY}") from None
    return _Part(path=path, header=header, first_step=described["first"], table=table)


def _check(table: pa.Table) -> None:
    """Raise an exception if the rows of a file are not valid rows of a ledger."""
    if not table.schema.equals(_SCHEMA):
        raise ValueError(f"it has the columns {_shown(table.schema)}; a ledger has {_shown(_SCHEMA)}")
    table.validate(full=True)
    if nulls := [name for name in _SCHEMA.names if name != "document" and table[name].null_count]:
        raise ValueError(f"values are missing in {', '.join(nulls)}")
    if not len(table) or any(pc.min(table[name]).as_py() < 0 for name in ("step", "position", "tokens")):
        raise ValueError("it has no rows, or negative steps, positions or numbers of tokens")


def _rows(table: pa.Table) -> LossRows:
    columns = {name: column.combine_chunks() for name, column in zip(_SCHEMA.names, table.unify_dictionaries().columns, strict=True)}
    corpus = columns["corpus"]
    columns |= {"corpus": corpus.indices, "document": columns["document"].fill_null(WHOLE_SAMPLE)}
    values = {name: column.to_numpy(zero_copy_only=False) for name, column in columns.items()}
    converted = {name: column.astype(np.float64 if name == "loss" else np.int64) for name, column in values.items()}
    return LossRows(**converted, names=tuple(corpus.dictionary.to_pylist()))


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
