"""Run the command in a forked process and wait for its end."""

import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Collection
from pathlib import Path

from tests.forks import FORKS


def command(
    *words: str | Path, cwd: Path | None = None, absent: Collection[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``phyagi-assets`` with arguments; return its output and exit code.

    Parameters
    ----------
    absent
        Packages that the command cannot import, as if they were not installed.
    """
    wide = {**os.environ, "COLUMNS": "200", **environment}
    with tempfile.TemporaryDirectory() as folder:
        printed, errors = Path(folder) / "stdout", Path(folder) / "stderr"
        process = FORKS.Process(target=_run, args=(list(map(str, words)), cwd or Path.cwd(), absent, wide, printed, errors))
        process.start()
        process.join()
        return subprocess.CompletedProcess(words, process.exitcode or 0, printed.read_text(), errors.read_text())


def forget(*packages: str) -> None:
    """Forget what has been imported from packages, so that they are imported again."""
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


def _run(words: list[str], cwd: Path, absent: Collection[str], environment: dict[str, str], printed: Path, errors: Path) -> None:
    if absent:
        forget("phyagi_assets", *absent)
        sys.modules.update(dict.fromkeys(absent))
    from phyagi_assets.cli import main

    for path, descriptor in ((printed, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["phyagi-assets", *words]
    try:
        main()
    except SystemExit:
        sys.stdout.flush()
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
