"""The benchmark of token arrays → batches: inputs, ratios, and a quick run."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from batches.inputs import CORPORA, VOCABULARY, write_inputs
from batches.opening import OPENERS, SAMPLES, SOURCES, Opened, opening_table
from batches.plans import PlannedArrays, write_plan
from batches.report import tables
from batches.suite import HOT, MEGATRON, OURS, PLAIN, RATIOS, SETTINGS, Run

from phyagi_assets.datasets import load_mixture
from tests.support import REPOSITORY


def run(contender: str, round_: int, rate: float, problem: str = "") -> Run:
    figures = {} if problem else {"rate": rate, "first_seconds": 0.1, "peak_mb": 100}
    return Run(contender=contender, setting=SETTINGS[0], round=round_, figures=figures, problem=problem)


def test_document_ends_match_the_eos_tokens_of_the_arrays(tmp_path: Path) -> None:
    write_inputs(tmp_path, 100_000)
    for corpus in CORPORA:
        ids, ends = np.load(tmp_path / f"{corpus}.npy"), np.load(tmp_path / f"{corpus}.ends.npy")
        assert len(ids) == 100_000 == ends[-1]
        assert (np.flatnonzero(ids == VOCABULARY - 1) + 1).tolist() == ends.tolist()
        assert np.diff(ends).max() > 10 * np.diff(ends).min()


def test_plan_over_arrays_loads_as_a_mixture_of_their_samples(tmp_path: Path) -> None:
    for corpus in range(2):
        for part in range(3):
            np.save(tmp_path / f"{corpus}-{part}.npy", np.arange(1000, dtype=np.uint16) + 10_000 * corpus + 2000 * part)
    paths = [[f"{corpus}-{part}.npy" for part in range(3)] for corpus in range(2)]
    corpora = [PlannedArrays(paths=its, tokens=1000, weight=weight) for its, weight in zip(paths, (3.0, 1.0), strict=True)]
    write_plan(tmp_path, corpora, 100)
    mixture = load_mixture(tmp_path).train
    firsts = mixture.batch(np.arange(len(mixture)))["input_ids"][:, 0].tolist()
    every = {10_000 * corpus + 2000 * part + 100 * sample for corpus in range(2) for part in range(3) for sample in range(10)}
    every -= {10_000 * corpus + 2000 * 2 + 900 for corpus in range(2)}  # the last token is only a label, so these 100 are not a sample
    assert set(firsts) == every
    assert [sum(first // 10_000 == corpus for first in firsts) for corpus in range(2)] == [87, 29]


def test_ratio_compares_runs_of_the_same_round() -> None:
    ratio = next(one for one in RATIOS if one.to is PLAIN)
    runs = [run(OURS.name, 1, 8.0), run(PLAIN.name, 1, 2.0), run(OURS.name, 2, 9.0), run(PLAIN.name, 2, 0, "no"), run(OURS.name, 3, 3.0)]
    assert ratio.between([*runs, run(PLAIN.name, 3, 1.0)], SETTINGS[0]) == [4.0, 3.0]
    assert ratio.between(runs, SETTINGS[1]) == []


def test_tables_list_contenders_that_could_not_run_with_the_reason() -> None:
    told = tables([run(OURS.name, 1, 8e6), run(HOT.name, 1, 16e6), run(MEGATRON.name, 1, 0, "No module named 'megatron'")], ["A note."])
    assert f"| {OURS.name} | 8.0 |" in told
    assert f"| {MEGATRON.name} | could not run |" in told
    assert f"* {MEGATRON.name}: No module named 'megatron'" in told
    assert f"| {HOT.name} | ≥ 0.35 | 0.50 |" in told


def test_opening_table_has_a_cell_for_every_size_and_opener() -> None:
    sizes = {(samples, 2) for samples in SAMPLES} | {(10**6, sources) for sources in SOURCES}
    opened = [
        Opened(opener=opener.name, samples=samples, sources=sources, problem="not tried")
        if samples > opener.most_samples
        else Opened(opener=opener.name, samples=samples, sources=sources, seconds=0.25, memory_mb=12)
        for opener in OPENERS
        for samples, sources in sizes
    ]
    rows = [line for line in opening_table(opened) if line.startswith("| p")]
    assert [row.count("|") for row in rows] == [len(SAMPLES) + 2] * 2 + [len(SOURCES) + 2] * 2
    assert "0.250 s, 12 MB" in rows[0]


def test_quick_run_measures_every_installed_contender(tmp_path: Path) -> None:
    program = str(REPOSITORY / "benchmarks" / "cache_to_batches.py")
    options = [
        "--quick",
        "--tokens",
        "400000",
        "--only",
        "phyagi",
        "plain",
        "litdata",
        "mosaic",
        "hot",
        "--streaming",
        str(tmp_path / "gone"),
    ]
    done = subprocess.run([sys.executable, program, *options, "--work", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["batches"]
    runs = {one["contender"]: one for one in record["runs"]}
    for contender in (OURS, PLAIN, HOT):
        assert runs[contender.name]["figures"]["rate"] > 0, runs[contender.name]
    assert runs["mosaicml-streaming"]["problem"] == f"there is no {tmp_path / 'gone'}"
    if not find_spec("litdata"):
        assert "No module named 'litdata'" in runs["litdata, TokensLoader"]["problem"]
    assert [len(one["ratios"]) for one in record["ratios"] if one["to"] == PLAIN.name] == [1]
