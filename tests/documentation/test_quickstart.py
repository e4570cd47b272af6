"""The page for a new user, followed to the letter in an empty folder from the built wheel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs.blocks import blocks_of
from tests.support import REPOSITORY

PROJECT = "phyagi-assets["


@pytest.mark.torch
def test_page_for_a_new_user_leads_from_the_wheel_to_a_batch(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("soak"):
        pytest.skip("installing torch and Dagster takes minutes; --soak does it, and tests/documentation runs the page in this environment")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(REPOSITORY)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    folder = tmp_path / "empty"
    folder.mkdir()
    blocks = list(blocks_of((REPOSITORY / "docs" / "quickstart.md").read_text(encoding="utf-8")))
    *shell, python = (block for block in blocks if block.language in ("sh", "python"))
    assert python.language == "python"
    script = "\n".join(block.code for block in shell)
    assert script.count(PROJECT) == 1
    script = script.replace(PROJECT, f"{wheel}[")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PHYAGI_", "DAGSTER_", "PYTHON", "VIRTUAL_ENV"))}
    clean["HOME"] = str(tmp_path)
    (folder / "batch.py").write_text(python.code, encoding="utf-8")
    done = subprocess.run(
        ["bash", "-e", "-c", f"{script}\npython batch.py"], cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = "".join(block.output or "" for block in blocks)
    assert done.stdout.endswith(shown)
