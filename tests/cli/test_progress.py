"""The progress of a command."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.work import Work
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.progress import ConsoleProgress
from phyagi_assets.errors import SourceError

STEPS = ("raw_dataset", "tokenized_arrow", "numpy_cache")


def run(*, is_terminal: bool, partitions: int = 2, output: Output | None = None, fails: bool = False) -> str:
    """Return the output of a build of partitions of 1 MB each."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=100, color_system=None)
    progress = ConsoleProgress(output or Output(), console)
    work = [Work(corpus="news", key=f"day{i}", partition=None, steps=STEPS, bytes=1_000_000) for i in range(partitions)]
    with progress.track({item.name: item.steps for item in work}, sum(item.bytes for item in work)):
        for item in work:
            progress.started(item.name)
            progress.advanced(item.bytes)
            progress.ended(PartitionResult(work=item, problem=SourceError("no news") if fails else None), is_current=False)
        progress.started_step("mix", "mixed_dataset")
        progress.ended_step("mix", "no tokens" if fails else "", is_current=False)
    return file.getvalue()


def test_output_without_a_terminal_has_lines_for_starts_and_ends() -> None:
    assert run(is_terminal=False).splitlines() == [
        "building 2 partitions, 2MB to read",
        "news/day0: started (raw_dataset … numpy_cache)",
        "news/day0: built (1 of 2)",
        "news/day1: started (raw_dataset … numpy_cache)",
        "news/day1: built (2 of 2)",
        "mix: started (mixed_dataset)",
        "mix: built",
    ]
    failed = run(is_terminal=False, partitions=2, fails=True).splitlines()
    assert failed[2] == "news/day0: failed: no news (1 of 2)"
    assert (failed[4], failed[-1]) == ("news/day1: failed (2 of 2)", "mix: failed"), "the command prints the reasons at its end"


def test_copied_versions_have_a_line_each_unless_the_target_had_them() -> None:
    file = io.StringIO()
    progress = ConsoleProgress(Output(), Console(file=file, force_terminal=False))
    with progress.track(dict.fromkeys(("a@1", "b@1", "c@1"), ()), 3_000, verb="copying", noun="version"):
        progress.copied("a@1", 2_000, is_there=False, is_left_out=False)
        progress.copied("b@1", 0, is_there=True, is_left_out=False)
        progress.copied("c@1", 1_000, is_there=False, is_left_out=True)
    assert file.getvalue().splitlines() == ["copying 3 versions, 3kB to read", "a@1: copied, 2kB (1 of 3)", "c@1: left out (3 of 3)"]


def test_many_partitions_have_one_line_each() -> None:
    assert len(run(is_terminal=False, partitions=100).splitlines()) == 103


def test_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert run(is_terminal=True) == run(is_terminal=False)


def test_on_a_terminal_one_line_has_steps_number_and_rate() -> None:
    drawn = run(is_terminal=True)
    last = [line for line in drawn.replace("\r", "\n").splitlines() if "MB" in line][-1]
    assert "mix: mixed_dataset" in last
    assert "2.0/2.0 MB" in last
    assert "started" not in drawn
    assert "built" not in drawn
    assert drawn.endswith("\x1b[1A\x1b[2K"), "the line is erased at the end"


def test_quiet_progress_prints_nothing() -> None:
    for is_terminal in (False, True):
        assert run(is_terminal=is_terminal, output=Output(quiet=True)).strip() == ""


def test_lines_are_in_the_log_file_on_a_terminal_too(tmp_path: Path) -> None:
    output = Output(log_file=f"{tmp_path}/log", quiet=True)
    with output.opened(["phyagi-assets", "materialize"]):
        run(is_terminal=True, output=output)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.partition(" INFO ")[2] for line in lines][2:4] == [
        "news/day0: started (raw_dataset … numpy_cache)",
        "news/day0: built (1 of 2)",
    ]
