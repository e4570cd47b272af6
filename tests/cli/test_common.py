"""Commands print failures."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from phyagi_assets.cli import main
from phyagi_assets.cli.common import FAILED, exit_after
from tests.support import write_text


def test_failures_with_the_same_reason_share_one_line_with_the_first_names(capsys: pytest.CaptureFixture[str]) -> None:
    same = {f"news/{i}": "the server is down" for i in range(7)}
    with pytest.raises(SystemExit) as end:
        exit_after({"news/a": "no text", **same}, [])
    assert end.value.code == FAILED
    assert capsys.readouterr().err.splitlines() == [
        "error: news/a: no text",
        "error: news/0, news/1, news/2, news/3, news/4 and 2 more: the server is down",
    ]


@pytest.mark.parametrize("words", ["inspect x", "explain x 1", "report x -o x.html"])
def test_name_in_a_missing_store_is_an_error_with_advice(words: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [*words.split(), "--data", str(tmp_path / "data")])
    assert done.exit_code == 1
    assert f"{tmp_path / 'data' / 'store'}" in done.stderr
    assert "that folder does not exist. Change to the folder that contains the data folder" in done.stderr
    (tmp_path / "data" / "corpora").mkdir(parents=True)
    done = CliRunner().invoke(main, [*words.split(), "--data", str(tmp_path / "data")])
    assert done.stderr.strip().endswith("; if it is declared, materialize it with: phyagi-assets materialize x")
    done = CliRunner().invoke(main, [*words.replace(" x", " x" + "x" * 300, 1).split(), "--data", str(tmp_path / "data")])
    assert (done.exit_code, done.stderr[:7]) == (1, "error: "), done.exception


def test_check_of_a_folder_without_declarations_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["check", "--data", str(tmp_path)])
    assert (done.exit_code, "nothing is declared here" in done.stderr) == (2, True)


def test_check_counts_broken_declarations(tmp_path: Path) -> None:
    write_text(tmp_path / "corpora" / "a.yaml", "name: [")
    write_text(tmp_path / "corpora" / "b.yaml", "name: b\n")
    done = CliRunner().invoke(main, ["check", "--data", str(tmp_path)])
    assert done.stdout.startswith("2 declarations and 0 artifacts checked, ")


@pytest.mark.parametrize("given", ["data/corpora", "data/raw/x", "."])
def test_data_folder_above_or_below_the_named_one_is_suggested(tmp_path: Path, given: str) -> None:
    write_text(tmp_path / "data" / "corpora" / "a.yaml", "name: a\n")
    (tmp_path / "data" / "raw" / "x").mkdir(parents=True)
    done = CliRunner().invoke(main, ["status", "--data", str(tmp_path / given)])
    assert (
        f"nothing is declared here, in corpora/*.yaml or mixtures/*.yaml; name the data folder with --data {tmp_path}/data\n" in done.stderr
    )


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "phyagi_assets.cli":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
from phyagi_assets.__main__ import main
main()
"""


def test_interrupt_while_the_command_is_imported_prints_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_command_runs_with_closed_standard_streams(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["init", str(tmp_path / "data")]).exit_code == 0
    run = 'exec "$0" -m phyagi_assets status --json --data "$1" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", run, sys.executable, str(tmp_path / "data")], check=False).returncode == 0
