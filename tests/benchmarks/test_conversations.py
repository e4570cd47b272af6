"""The benchmark of conversations: its inputs, and with ``--soak`` a quick run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chat.inputs import write_conversations

from tests.support import REPOSITORY


@pytest.mark.parametrize("size", [500, 2000])
def test_conversations_have_the_requested_size_and_depend_only_on_the_seed(size: int, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_conversations(tmp_path / name, count=20, size=size, seed=seed)
    one, again, other = ((tmp_path / name).read_text(encoding="utf-8") for name in ("one", "again", "other"))
    assert one == again != other
    for line in one.splitlines():
        assert sum(len(message["content"]) for message in json.loads(line)["messages"]) == size


def test_quick_run_compares_ids_and_masks(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("soak"):
        pytest.skip("starts three programs that import transformers; runs with --soak")
    program = REPOSITORY / "benchmarks" / "conversations.py"
    command = [sys.executable, str(program), "--quick", "--count", "4000", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "The outputs of 2 runs were compared with the others in the same round: none differed." in done.stdout
