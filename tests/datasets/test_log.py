"""Log messages are written once, to the right place."""

import itertools
import logging
import re
import sys

import pytest

from phyagi_assets.datasets.log import show_messages
from tests.imports import ImportOfDatasets

LINE = r"\[phyagi_assets\] \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] \[INFO\] \[[^\]:]+:\d+:%s\] Loading datasets\.\.\.\n"

_numbers = itertools.count()


def _program(monkeypatch: pytest.MonkeyPatch, *handlers: logging.Handler) -> str:
    """Configure logging with handlers, as a program does; return the name of the library's loggers."""
    monkeypatch.setattr(logging.getLogger(), "handlers", list(handlers))
    return f"tests.told{next(_numbers)}"


def test_script_that_does_not_configure_logging_gets_messages_on_stderr(import_of_datasets: ImportOfDatasets) -> None:
    assert re.fullmatch(LINE % "<module>", import_of_datasets.stderr)
    assert import_of_datasets.stdout == ""


@pytest.mark.parametrize("times", [1, 3])
def test_message_is_written_once(times: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    library = _program(monkeypatch)
    for _ in range(times):
        show_messages(library)
    logger = logging.getLogger(f"{library}.below")
    logger.info("Loading %s...", "datasets")
    logger.debug("details")
    assert re.fullmatch(LINE % "test_message_is_written_once", capsys.readouterr().err)


def test_program_that_configures_logging_gets_each_message_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = _program(monkeypatch, logging.StreamHandler(sys.stderr))
    show_messages(library)
    logging.getLogger(library).info("Loading")
    assert capsys.readouterr().err == "Loading\n"


def test_level_set_by_the_user_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    library = _program(monkeypatch)
    logging.getLogger(library).setLevel(logging.WARNING)
    show_messages(library)
    logging.getLogger(library).info("Loading")
    assert capsys.readouterr().err == ""
    logging.getLogger(library).warning("gone")
    assert "[WARNING]" in capsys.readouterr().err
