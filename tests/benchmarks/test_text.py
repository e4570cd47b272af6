"""The benchmark of text → token arrays: generated text, comparison of ids, and a quick run."""

import json
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from text.compared import digests
from text.inputs import write_inputs
from text.samples import sources
from text.varied_text import documents


@cache
def drawn(seed: int, new_words: float = 0.02) -> list[str]:
    """Return generated documents, the same list in each test."""
    return drawn_again(seed, new_words)


def drawn_again(seed: int, new_words: float) -> list[str]:
    return [text for block in documents(megabytes=0.3, seed=[seed], new_words=new_words) for text in block]


def words(texts: list[str]) -> list[str]:
    return [word for text in texts for word in re.findall(r"[^\W\d_]{3,}", text)]


@cache
def known_words() -> set[str]:
    return set(words([piece for kind in sources().values() for source in kind for piece in source]))


def test_documents_depend_only_on_the_seed() -> None:
    assert drawn(1) == drawn_again(1, 0.02)
    assert len(set(drawn(1)) & set(drawn(2))) < len(drawn(1)) / 20  # short documents can be equal by chance


def test_documents_vary_in_length_and_have_the_requested_total_size() -> None:
    lengths = [len(text) for text in drawn(1)]
    assert max(lengths) > 20 * min(lengths)
    assert 300_000 <= sum(len(text.encode()) for text in drawn(1)) < 300_000 + 4 * max(lengths)


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_share_of_new_words_is_at_most_the_requested_share(share: float) -> None:
    found = words(drawn(1, share))
    new = sum(word not in known_words() for word in found) / len(found)
    assert share * 0.6 <= new <= share  # an exchange of letters can produce a known word


def test_both_formats_contain_the_same_documents(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, megabytes=0.3, seed=3)
    lines = [json.loads(line) for file in sorted(tmp_path.glob("*.jsonl")) for line in file.open(encoding="utf-8")]
    rows = [row for file in sorted(tmp_path.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    assert lines == rows
    assert inputs.documents == len(lines) == len({row["id"] for row in rows})
    assert inputs.text_bytes == sum(len(row["text"].encode()) for row in rows)


def test_digests_of_ids_do_not_depend_on_the_file_layout_and_reveal_a_difference(tmp_path: Path) -> None:
    ids, ends = np.arange(1000) * 7, np.array([400, 700, 1000])
    np.save(tmp_path / "whole.npy", ids.astype(np.uint16))
    np.save(tmp_path / "whole.ends.npy", ends)
    ids[:400].astype("<u4").tofile(tmp_path / "0.ds")
    ids[400:].astype("<u4").tofile(tmp_path / "1.ds")
    ends[:1].astype("<u8").tofile(tmp_path / "0.index")
    (ends[1:] - 400).astype("<u8").tofile(tmp_path / "1.index")
    np.save(tmp_path / "other.npy", np.where(ids == 7, 8, ids))
    np.save(tmp_path / "other.ends.npy", ends - [1, 0, 0])

    def of(*arrays: str, ends: tuple[str, ...] = (), dtype: str = "") -> dict[str, str]:
        told = {"arrays": [str(tmp_path / name) for name in arrays], "dtype": dtype}
        return digests({**told, "ends": [str(tmp_path / name) for name in ends]} if ends else told)

    whole = of("whole.npy", ends=("whole.ends.npy",))
    parts = of("0.ds", "1.ds", ends=("0.index", "1.index"), dtype="<u4")
    assert whole == parts
    assert whole.items() > of("whole.npy").items()
    assert of("other.npy")["ids"] != whole["ids"]
    assert of("whole.npy", ends=("other.ends.npy",))["ends"] != whole["ends"]


def test_quick_run_reports_equal_ids_and_missing_packages(tmp_path: Path, benchmark_output: Callable[..., str]) -> None:
    options = ["--quick", "--megabytes", "0.2", "--only", "tokenizers", "datatrove", "fastokens", "--work", str(tmp_path / "work")]
    printed = benchmark_output("text_to_cache.py", *options, "--environments", str(tmp_path))
    (record,) = json.loads((tmp_path / "work" / "results.json").read_text(encoding="utf-8")).values()
    found = {run["contender"]: run for run in record["runs"]}
    compared = ["tokenizers 0.23, in batches, JSON Lines", "tokenizers 0.23, in batches, Parquet", "limit: fastokens alone, Parquet"]
    assert len({json.dumps(found[name]["digests"]) for name in compared}) == 1
    assert all(found[name]["digests"].keys() == {"ids", "ends"} for name in compared)
    assert found["tokenizers 1.0, in batches, JSON Lines"]["problem"] == f"there is no {tmp_path}/.venv-bench-tokenizers1/bin/python"
    if not find_spec("datatrove"):
        assert "No module named 'datatrove'" in found["datatrove, 2 workers, JSON Lines"]["problem"]
        assert "| datatrove, 2 workers, JSON Lines | could not run |" in printed
