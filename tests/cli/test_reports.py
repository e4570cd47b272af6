"""Reports as JSON, and the options that every command has."""

import io
import json
import shlex
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from docs.schemas import FOLDER, REPORTS, schemas
from phyagi_assets.cli import main
from phyagi_assets.cli.render_inspection import show_inspection
from phyagi_assets.inspection.describe import InspectReport, Part
from phyagi_assets.steps.step import Workspace
from tests.command import command
from tests.support import write_text

VERBS = sorted(main.commands)


@pytest.fixture
def data(built_plays: Workspace) -> Path:
    """A folder whose plays and mixture are built."""
    return built_plays.data


def run(words: str, data: Path) -> Result:
    return CliRunner().invoke(main, shlex.split(words), env={"COLUMNS": "80", "PHYAGI_ASSETS_DATA": str(data)})


def valid(text: str, name: str) -> dict[str, Any]:
    """Parse standard output, which has to be one document that fits the published schema, and the model that it was made with."""
    document: dict[str, Any] = json.loads(text)
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    assert (document["report"], document["version"]) == (name, 1)
    (model,) = (report for report in REPORTS if report.model_fields["report"].default == name)
    assert model.model_validate_json(text).to_json() == text
    return document


def test_published_schemas_are_those_of_the_code() -> None:
    assert {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")} == schemas()


def test_every_report_is_one_valid_document(data: Path, tmp_path: Path) -> None:
    write_text(data / "raw" / "one.txt", "Another play. " * 20)
    stale = valid(run("materialize --dry-run --json", data).stdout, "dry-run")
    assert [of["name"] for of in stale["stale"]] == ["plays/one", "mix"]
    done = command("materialize", "--json", "--data", data)
    assert done.returncode == 0, done.stderr
    built = valid(done.stdout, "materialize")
    assert (len(built["built"]), built["failed"]) == (2, {})
    checked = valid(run("check --json", data).stdout, "check")
    assert (checked["declarations"], checked["problems"]) == (2, [])
    assert valid(run("clean --json --grace 0", data).stdout, "clean")["is_dry_run"]
    states = valid(run("status --json", data).stdout, "status")
    assert [(of["name"], of["current"], of["stale"]) for of in states["corpora"]] == [("plays", 3, 0)]
    forecast = valid(run("plan mix --json --tokens 1k", data).stdout, "plan")
    assert forecast["corpora"][0]["is_exact"]
    for name in ("mix", "plays", "plays/numpy_cache/one", "plays/raw_dataset/two"):
        shown = valid(run(f"inspect {name} --json", data).stdout, "inspect")
        assert (shown["artifact"] is None) == (name == "plays")
    explained = valid(run("explain mix 3 --count 2 --json", data).stdout, "explain")
    assert [sample["position"] for sample in explained["samples"]] == [3, 4]
    removed = valid(run("remove plays --match WORLD --dry-run --json", data).stdout, "remove")
    assert {of["partition"] for of in removed["documents"]} == {"two", "three"}
    copied = valid(run(f"copy {data / 'store'} {tmp_path / 'other'} mix --json", data).stdout, "copy")
    assert copied["copied"] > 0


@pytest.mark.parametrize("width", [40, 80, 200])
def test_numbers_of_a_mixture_are_never_cut(width: int) -> None:
    parts: list[Part] = [
        {
            "corpus": name,
            "declared": "×1.5",
            "partitions": 1234,
            "train tokens": 161_234_567,
            "in no sample": 17,
            "part": 0.5,
            "epochs": 1.5,
        }
        for name in ("encyclopedia", "plays")
    ]
    console = Console(width=width, file=io.StringIO())
    show_inspection(console, InspectReport(title="mixed_dataset", facts={}, parts=tuple(parts)))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("161,234,567") == 2
    assert "…" not in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    assert ("█" in shown) == (width == 200)


@pytest.mark.parametrize(("count", "shown", "width"), [(50, 50, 80), (51, 20, 80), (10_000, 20, 80), (10_000, 20, 28)])
def test_long_list_of_partitions_shows_its_ends(count: int, shown: int, width: int) -> None:
    parts: tuple[Part, ...] = tuple(
        {"partition": f"day{number:04}", "train tokens": 1000, "validation tokens": 17, "test tokens": 17} for number in range(count)
    )
    console = Console(width=width, file=io.StringIO())
    show_inspection(console, InspectReport(title="corpus notes", facts={}, parts=parts))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.count("1,000") == shown
    assert f"day{count - 1:04}" in printed
    assert (f"{count - 20:,} of {count:,} are left out; --json lists all" in printed) == ("…" in printed) == (shown < count)


def test_problems_are_in_the_document_and_on_standard_error(data: Path) -> None:
    (data / "store" / "plays" / "numpy_cache" / "one" / "train.npy").unlink()
    done = run("check --json --discard", data)
    assert done.exit_code == 1
    document = valid(done.stdout, "check")
    assert {(of["kind"], of["address"], of["is_damage"]) for of in document["problems"]} == {
        ("artifact", "plays/numpy_cache/one", True),
        ("artifact", "mix/mixed_dataset", False),
    }
    assert document["discarded"] == ["plays/numpy_cache/one"]
    assert done.stderr.count("error: ") == 2


def test_command_that_cannot_report_leaves_standard_output_empty(data: Path) -> None:
    for words in ("inspect nobody --json", "plan nobody --json", "materialize plays/x --json --dry-run"):
        done = run(words, data)
        assert (done.exit_code in (1, 2), done.stdout, done.stderr[:7]) == (True, "", "error: ")


@pytest.mark.parametrize("name", VERBS)
def test_every_command_has_the_shared_options(name: str) -> None:
    options = {option for parameter in main.commands[name].params for option in parameter.opts}
    assert {"--verbose", "--quiet", "--log-file"} <= options
    assert ("--json" in options) == (name not in ("init", "report", "ui"))


def test_log_file_collects_messages_of_commands_with_times(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log.txt"
    (data / "raw" / ".hidden.txt").write_text("left out")
    assert run(f"plan mix --log-file {log}", data).exit_code == 0
    assert run(f"inspect nobody --quiet --log-file {log}", data).exit_code == 1
    lines = [line.partition(" ") for line in log.read_text().splitlines()]
    assert all(len(time) == len("2026-11-27T22:00:00Z") and time.endswith("Z") for time, _, _ in lines)
    text = [line.partition(" ")[2] for _, _, line in lines]
    assert next(line for line in text if "left out" in line).startswith("WARNING plays: 1 file left out: 1 hidden")
    assert next(line for line in text if line.startswith("ERROR")).startswith(f"ERROR {data / 'store'} has nothing named 'nobody'")
    assert [line for line in text if "ended" in line] == ["INFO ended with exit code 0", "INFO ended with exit code 1"]
    refused = run(f"plan mix --log-file {data}", data)
    assert (refused.exit_code, "--log-file: " in refused.stderr) == (2, True)


def test_quiet_command_prints_only_warnings_besides_its_report(data: Path) -> None:
    (data / "raw" / ".hidden.txt").write_text("left out")
    loud, quiet = (run(f"materialize --dry-run {option}", data) for option in ("", "--quiet"))
    assert loud.stdout == quiet.stdout
    assert "1 file left out" in quiet.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("materialise", "Did you mean 'materialize'?"),
        ("materialize --dry-rum", "Did you mean '--dry-run'?"),
        ("plan mxi", "did you mean 'mix'?"),
        ("remove playz --id 0", "did you mean 'plays'?"),
    ],
)
def test_typos_exit_2_with_a_suggestion(data: Path, words: str, message: str) -> None:
    done = run(words, data)
    assert done.exit_code == 2
    assert message in done.stderr


def test_interrupted_command_exits_130() -> None:
    @click.command(cls=type(main.commands["plan"]))
    def waits(output: object) -> None:
        del output
        raise KeyboardInterrupt

    done = CliRunner().invoke(waits)
    assert (done.exit_code, done.stderr[:18]) == (130, "error: interrupted")
