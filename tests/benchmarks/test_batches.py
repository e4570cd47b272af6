"""The benchmark of token arrays → batches: inputs, and a quick run."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from batches.inputs import CORPORA, VOCABULARY, write_inputs
from batches.plans import PlannedArrays, write_plan

from phyagi_assets.datasets import load_mixture


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


def test_quick_run_measures_every_installed_contender(tmp_path: Path, benchmark_output: Callable[..., str]) -> None:
    options = ["--quick", "--tokens", "400000", "--only", "phyagi", "plain", "mosaic"]
    benchmark_output("cache_to_batches.py", *options, "--work", str(tmp_path), "--environments", str(tmp_path))
    (record,) = json.loads((tmp_path / "batches-400000" / "results.json").read_text(encoding="utf-8")).values()
    runs = {one["contender"]: one for one in record["runs"]}
    for name in ("phyagi-assets, its mixture", "plain memory-mapped dataset"):
        assert runs[name]["figures"]["rate"] > 0, runs[name]
    assert runs["mosaicml-streaming"]["problem"] == f"there is no {tmp_path}/.venv-bench-streaming/bin/python"
    assert [len(one["ratios"]) for one in record["ratios"] if "plain" in one["what"]] == [1]
