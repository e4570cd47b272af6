"""The page for a new user, followed to the letter in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY


@pytest.mark.torch
def test_page_for_a_new_user_leads_from_own_files_to_a_batch(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "quickstart.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh"] * 6 + ["python"]
    shell = "\n".join(code for kind, code in blocks[1:] if kind == "sh")  # the first one installs
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PHYAGI_", "DAGSTER_"))}
    environment |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("bash", "-e", "-c", shell).splitlines()[-1] == "2 built, 0 up to date, 0 failed"
    printed = run(sys.executable, "-c", blocks[-1][1])
    assert printed.startswith("torch.Size([4, 16])\n")
    assert "notes" in printed
