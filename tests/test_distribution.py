"""The distribution of tests over processes, and that all of them are collected."""

import os
import shlex
import subprocess
from fnmatch import fnmatch
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
from xdist.remote import Producer

from tests.distribution import LONGEST_FIRST, LongestFilesFirst
from tests.forks import interpreter_in_fork
from tests.support import REPOSITORY


class Process:
    """Stand-in for a process of a scheduler, which records the indices of its tests."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.given: list[int] = []
        self.ran: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_every_folder_with_modules_is_collected(pytestconfig: pytest.Config) -> None:
    modules = chain.from_iterable((REPOSITORY / root).rglob("*.py") for root in pytestconfig.getini("testpaths"))
    folders = {part for module in modules for part in module.parent.relative_to(REPOSITORY).parts}
    assert "build" in folders
    assert not [folder for folder in folders if any(fnmatch(folder, pattern) for pattern in pytestconfig.getini("norecursedirs"))]


def test_files_in_the_order_of_distribution_exist_and_are_named_once() -> None:
    named = list(chain.from_iterable(LONGEST_FIRST))
    assert len(named) == len(set(named))
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


def test_files_that_share_a_fixture_stay_in_one_process_and_others_run_beside_them() -> None:
    shared = next(files for files in LONGEST_FIRST if len(files) > 1)
    tests = [f"{file}::test_it[{i}]" for file in (*shared, *(f"tests/test_{letter}.py" for letter in "abc")) for i in range(4)]
    config: Any = SimpleNamespace(option=SimpleNamespace(loadscopereorder=True), getvalue={"tx": ["2*popen"]}.__getitem__)
    scheduler, processes = LongestFilesFirst(config, Producer("test", enabled=False)), [Process("a"), Process("b")]
    for process in processes:
        scheduler.add_node(process)
    for process in processes:
        scheduler.add_node_collection(process, tests)
    scheduler.schedule()
    for _ in tests:
        for process in processes:
            if len(process.ran) < len(process.given):
                process.ran.append(process.given[len(process.ran)])
                scheduler.mark_test_complete(process, process.ran[-1])
    first, second = [[tests[index].partition("::")[0] for index in process.ran] for process in processes]
    assert sorted(first + second) == sorted(test.partition("::")[0] for test in tests)
    assert first[: 4 * len(shared)] == [file for file in shared for _ in range(4)]
    assert not set(first) & set(second)


def test_program_in_a_fork_has_the_imports_and_the_streams_environment_and_exit_code_of_its_command() -> None:
    program = "import os, sys; print(input(), os.environ['FOUND'], 'dagster' in sys.modules); sys.stderr.write('error'); sys.exit(3)"
    command = [*shlex.split(interpreter_in_fork(REPOSITORY)), "-u", "-c", program]
    ran = subprocess.run(command, input="read\n", env={**os.environ, "FOUND": "found"}, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("read found True\n", "error", 3)
