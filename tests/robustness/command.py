"""Run the command in its own process, which can be killed at any moment.

It is forked from a process that has imported everything and has no thread yet: it begins at once, which makes a hundred kills
a matter of minutes.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tests.forks import FORKS

_CHANGES = {"os.mkdir", "os.rename", "os.symlink", "os.link", "os.remove", "os.rmdir", "shutil.rmtree"}


@dataclass(kw_only=True)
class Changes:
    """Counter of the changes that the command makes in the store, without Dagster's records; kills the command at change `last`.

    With `waits`, the command stops there and keeps its locks until `told` is set.
    """

    last: int | None = None
    waits: bool = False
    folder: Path | None = None
    """Folder whose changes are counted; by default, the store."""

    def __post_init__(self) -> None:
        self.count = FORKS.RawValue("q", 0)  # changed by that process alone
        self.told = FORKS.RawValue("b", not self.waits)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Result of a command."""

    code: int
    """Exit code as in `multiprocessing`: negative if the command was killed by a signal."""
    said: str
    seconds: float


class Command:
    """A command that has been started.

    Parameters
    ----------
    words
        Arguments of ``phyagi-assets``.
    log
        File for the output.
    changes
        Counts the changes of the command, and kills it at one of them.
    file_size
        Largest size of a file, in bytes.
    environment
        Additional environment variables.
    """

    def __init__(
        self,
        *words: str | Path,
        log: Path,
        changes: Changes | None = None,
        file_size: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log, self._started = log, time.monotonic()
        self._changes = changes  # kept until it has arrived there
        arguments = (log, list(map(str, words)), changes, file_size, environment or {})
        self._process: ForkServerProcess = FORKS.Process(target=_command, args=arguments)
        self._process.start()

    @property
    def is_running(self) -> bool:
        return self._process.exitcode is None

    def kill_at(self, moment: float, *, alone: bool = False) -> None:
        """Kill the command, and its processes unless `alone` is set, some seconds after its start if it is still running."""
        self._process.join(max(0.0, self._started + moment - time.monotonic()))
        if self._process.exitcode is None and self._process.pid:
            self._process.kill()
            with suppress(ProcessLookupError):  # it may not have created its session yet
                if not alone:
                    os.killpg(self._process.pid, signal.SIGKILL)

    def ended(self) -> Ended:
        """Wait for the end of the command, and return its result."""
        self._process.join()
        assert self._process.exitcode is not None
        said = self._log.read_text(encoding="utf-8") if self._log.exists() else ""
        return Ended(code=self._process.exitcode, said=said, seconds=time.monotonic() - self._started)


def _command(log: Path, words: list[str], changes: Changes | None, file_size: int | None, environment: Mapping[str, str]) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ |= {"COLUMNS": "200", **environment}
    if changes:
        sys.addaudithook(_counting(changes, changes.folder or Path(words[words.index("--store") + 1])))
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    sys.argv = ["phyagi-assets", *words]
    from phyagi_assets.cli import main

    main()


def _counting(changes: Changes, store: Path) -> Any:
    inside, aside = f"{store}/", f"{store}/.dagster"

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _CHANGES and not (event == "open" and arguments[2] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)):
            return
        if any(str(path).startswith(inside) and not str(path).startswith(aside) for path in arguments[:2]):
            if changes.count.value == changes.last:
                while not changes.told.value:
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            changes.count.value += 1

    return count
