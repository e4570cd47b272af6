"""The harness of the benchmarks: turns, ratios, comparisons, tables."""

import argparse
import json
from pathlib import Path

import pytest
import report
from harness import measure
from suite import Contender, Figure, Ratio, Run, Setting, Suite, differing

OURS, PEER, GONE = (
    Contender(name="ours", program="quick.py", kind="this project"),
    Contender(name="peer", program="quick.py"),
    Contender(name="gone", program="quick.py", environment="missing"),
)
SETTING = Setting(name="small")
SUITE = Suite(
    title="Quick",
    contenders=[OURS, PEER, GONE],
    settings=[SETTING],
    figures=[Figure(title="per second", name="rate")],
    ratios=[Ratio(of=OURS, to=PEER, aim="≥ 2")],
    derive=lambda run: {"rate": run["size"] / run["seconds"]},
)
PROGRAM = """
from contender import Stopwatch, done, given
told = given()
with Stopwatch() as watch:
    sum(range(100_000))
done(watch, size=told.seed, digests={"ids": str(told.answer)})
"""


def run(contender: Contender, round_: int, rate: float | None = None, digest: str = "", problem: str = "") -> Run:
    figures, digests = {} if rate is None else {"rate": rate}, {"ids": digest} if digest else {}
    return Run(contender=contender.name, setting="small", round=round_, figures=figures, digests=digests, problem=problem)


def given(folder: Path, rounds: int) -> argparse.Namespace:
    return argparse.Namespace(
        rounds=rounds, seed=5, quick=False, only=None, settings=None, work=folder, results=folder / "tables", environments=folder
    )


def test_ratio_compares_runs_of_one_round() -> None:
    runs = [run(OURS, 1, 8.0), run(PEER, 1, 2.0), run(OURS, 2, 9.0), run(PEER, 2, problem="no"), run(OURS, 3, 3.0), run(PEER, 3, 1.0)]
    assert SUITE.ratios[0].between(runs, "small") == [4.0, 3.0]
    assert SUITE.ratios[0].between(runs, "large") == []


def test_run_that_differs_from_the_peers_of_its_round_is_found() -> None:
    wrong = run(OURS, 1, digest="a")
    assert differing(SUITE, [wrong, run(PEER, 1, digest="b"), run(OURS, 2, digest="a"), run(PEER, 2, digest="a"), run(GONE, 1)]) == [wrong]


def test_tables_show_contender_that_could_not_run_with_the_reason() -> None:
    told = report.tables(SUITE, [run(OURS, 1, 8.0), run(OURS, 2, 4.0), run(PEER, 1, 2.0), run(GONE, 1, problem="No module 'x'")], [SETTING])
    assert "| ours | 6.0 (4.0–8.0) |" in told
    assert "| gone | could not run |" in told
    assert "* gone: No module 'x'" in told
    assert "| ours / peer | ≥ 2 | 4.00 |" in told


def test_section_of_a_suite_replaces_its_earlier_one_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    for title, table in (("Text", "one"), ("Batches", "two"), ("Text", "three\n\n### Part")):
        report.keep(path, title, table)
    assert path.read_text(encoding="utf-8") == "# Benchmark results\n\n## Batches\n\ntwo\n\n## Text\n\nthree\n\n### Part\n"


@pytest.mark.parametrize("agrees", [True, False])
def test_suite_runs_contenders_in_turn_with_a_seed_per_round(tmp_path: Path, agrees: bool) -> None:
    (tmp_path / "quick.py").write_text(PROGRAM, encoding="utf-8")
    contenders = [
        Contender(name=one.name, program=str(tmp_path / "quick.py"), kind=one.kind, environment=one.environment, given={"answer": answer})
        for one, answer in ((OURS, 1 if agrees else 2), (PEER, 1), (GONE, 1))
    ]
    suite = Suite(title="Quick", contenders=contenders, settings=[SETTING], figures=SUITE.figures, derive=SUITE.derive)
    if agrees:
        assert [one.contender for one in measure(suite, given(tmp_path, 2))] == ["ours", "peer", "gone", "peer", "gone", "ours"]
    else:
        with pytest.raises(SystemExit, match="differ"):
            measure(suite, given(tmp_path, 1))
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["Quick"]
    ours = [one["figures"] for one in record["runs"] if one["contender"] == "ours"]
    assert [one["size"] for one in ours] == ([6, 7] if agrees else [6])
    assert all(one["peak_mb"] > 0 and one["whole_seconds"] > one["seconds"] and one["whole_cpu_seconds"] > 0 for one in ours)
    assert {one["problem"] for one in record["runs"] if one["contender"] == "gone"} == {
        f"there is no {tmp_path}/.venv-bench-missing/bin/python"
    }
    assert ("**differs**" in (tmp_path / "tables" / "results.md").read_text(encoding="utf-8")) is not agrees
