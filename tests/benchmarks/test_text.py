"""The benchmark of text → token arrays: generated text, comparison of ids, and a quick run."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import results
from text.compared import differing, digests
from text.inputs import write_inputs
from text.samples import sources
from text.suite import RATIOS, Run
from text.varied_text import documents

from tests.support import REPOSITORY


def drawn(seed: int, new_words: float = 0.02) -> list[str]:
    return [text for block in documents(megabytes=0.3, seed=[seed], new_words=new_words) for text in block]


def words(texts: list[str]) -> list[str]:
    return [word for text in texts for word in re.findall(r"[^\W\d_]{3,}", text)]


def test_documents_depend_only_on_the_seed() -> None:
    assert drawn(1) == drawn(1)
    assert len(set(drawn(1)) & set(drawn(2))) < len(drawn(1)) / 20  # short documents can be equal by chance


def test_documents_vary_in_length_and_have_the_requested_total_size() -> None:
    lengths = [len(text) for text in drawn(1)]
    assert max(lengths) > 20 * min(lengths)
    assert 300_000 <= sum(len(text.encode()) for text in drawn(1)) < 300_000 + 4 * max(lengths)


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_share_of_new_words_is_at_most_the_requested_share(share: float) -> None:
    known = set(words([piece for kind in sources().values() for source in kind for piece in source]))
    found = words(drawn(1, share))
    new = sum(word not in known for word in found) / len(found)
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
    assert differing([whole, {}, parts, of("whole.npy")]) == []
    assert differing([of("whole.npy"), whole, of("other.npy"), of("whole.npy", ends=("other.ends.npy",))]) == [2, 3]


def test_ratio_compares_runs_of_the_same_round() -> None:
    def run(contender: str, round_: int, seconds: float, problem: str = "") -> Run:
        shared = {"format": "jsonl", "tokenizer": "t", "text_bytes": 1, "digests": {}, "problem": problem}
        return Run(contender=contender, round=round_, figures={"seconds": seconds}, **shared)

    ratio = RATIOS[0]
    ours, theirs = ratio.of[0].name, ratio.to[0].name
    runs = [run(ours, 1, 2.0), run(theirs, 1, 8.0), run(ours, 2, 1.0), run(theirs, 2, 0, "no"), run(ours, 3, 5.0), run(theirs, 3, 5.0)]
    assert ratio.between(runs, "t") == [4.0, 1.0]


def test_suite_replaces_only_its_own_results(tmp_path: Path) -> None:
    for suite, figure in (("text", 1), ("batches", 2), ("text", 3)):
        results.keep(suite, {"figure": figure}, f"## {suite}\n\n{figure}\n", tmp_path)
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {suite: record["figure"] for suite, record in kept.items()} == {"batches": 2, "text": 3}
    assert (tmp_path / "results.md").read_text(encoding="utf-8").endswith("## batches\n\n2\n\n## text\n\n3\n")


def test_quick_run_reports_equal_ids_and_missing_packages(tmp_path: Path) -> None:
    program = str(REPOSITORY / "benchmarks" / "text_to_cache.py")
    options = ["--quick", "--megabytes", "0.2", "--only", "tokenizers", "datatrove", "engine", "--work", str(tmp_path)]
    done = subprocess.run([sys.executable, program, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runs = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["text"]["runs"]
    by_name = {name: [run for run in runs if run["contender"].startswith(name)] for name in ("tokenizers", "datatrove", "limit")}
    assert len({run["digests"]["ids"] for run in by_name["tokenizers"]}) == 1
    assert all(run["figures"]["seconds"] > 0 for run in by_name["limit"])
    if find_spec("datatrove"):
        assert {run["digests"]["ids"] for run in runs if run["digests"]} == {by_name["tokenizers"][0]["digests"]["ids"]}
    else:
        assert all("No module named 'datatrove'" in run["problem"] for run in by_name["datatrove"])
        assert "datatrove, 2 workers | JSON Lines | could not run" in done.stdout
