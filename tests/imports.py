"""Import the datasets in a fresh interpreter, once for all tests: torch takes seconds."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
import sys, phyagi_assets.datasets
loaded = "\\n".join(sys.modules)
import logging
logging.getLogger("phyagi_assets.datasets.registry").info("Loading %s...", "datasets")
open(sys.argv[1], "w").write(loaded)
"""


@dataclass(frozen=True, kw_only=True)
class ImportOfDatasets:
    """The modules that the import of ``phyagi_assets.datasets`` loads, and the output of a script that then logs a message."""

    modules: frozenset[str]
    stdout: str
    stderr: str

    @staticmethod
    def make(folder: Path) -> None:
        """Run the script, and keep in a folder what it did."""
        folder.mkdir()
        command = [sys.executable, "-c", _SCRIPT, str(folder / "modules")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (folder / "stdout").write_text(done.stdout, encoding="utf-8")
        (folder / "stderr").write_text(done.stderr, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "ImportOfDatasets":
        modules, stdout, stderr = ((folder / name).read_text(encoding="utf-8") for name in ("modules", "stdout", "stderr"))
        return cls(modules=frozenset(modules.splitlines()), stdout=stdout, stderr=stderr)
