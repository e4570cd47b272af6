"""Put the folder of the benchmarks first in the import path, as when they run as programs, and run them."""

import runpy
import sys
from collections.abc import Callable

import pytest

from tests.support import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture
def benchmark_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs a program of the benchmarks with options in this process, which has its imports, and returns what it prints.

    The contenders are processes of their own.
    """

    def run(program: str, *options: str) -> str:
        monkeypatch.setattr(sys, "argv", [program, *options])
        runpy.run_path(str(BENCHMARKS / program), run_name="__main__")
        return capsys.readouterr().out

    return run
