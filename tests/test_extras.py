"""The base install runs the commands that read a store; the other commands name the missing extra."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import EXTRAS
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.support import build, copy_store, declare, declare_corpus, write_text

PROGRAM = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))  # importing one of them fails as if it were not installed
from click.testing import CliRunner
from phyagi_assets.cli import main
for words in json.loads(sys.argv[2]):
    done = CliRunner().invoke(main, words)
    print(json.dumps([done.exit_code, done.output]))
"""


def run_without(absent: list[str], commands: list[list[str]]) -> list[tuple[int, str]]:
    words = [sys.executable, "-c", PROGRAM, json.dumps(absent), json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [(code, " ".join(output.split())) for code, output in map(json.loads, done.stdout.splitlines())]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Workspace:
    """A workspace with one mixture that is built and one that is not."""
    data = tmp_path_factory.mktemp("mixed") / "data"
    workspace = Workspace(data=data, store=LocalStore(copy_store(prepared_store, data / "store")), engines=engines)
    for name in ("old", "new"):
        write_text(workspace.data / "raw" / f"{name}.txt", "Word for word. " * 100)
        corpus = declare_corpus(workspace.data, name, f"raw/{name}.txt", splits={})
        path = declare(workspace.data, "mixtures", name=f"{name}_mix", seq_len=16, datasets=[{"corpus": name, "weight": 1}])
        if name == "old":
            steps = build(corpus, workspace)
            build_mixture(load_yaml(path, MixtureConfig), {name: corpus}, {name: list(steps)}, workspace)
    return workspace


def test_commands_that_read_a_store_need_no_extra(mixed: Workspace) -> None:
    looks = [
        "inspect old_mix",
        "inspect old/numpy_cache/all",
        "explain old_mix 3",
        "plan old_mix",
        "plan new_mix",
        "clean",
        "check",
        "status",
        "materialize --dry-run",
    ]
    found = run_without(list(EXTRAS), [[*words.split(), "--data", str(mixed.data)] for words in looks])
    assert [code for code, _ in found] == [0] * len(found), found
    mixture, cache, explained, standing, estimated = [output for _, output in found[:5]]
    assert "old" in mixture
    assert "new: never built: all" in found[-2][1]
    assert "2 to build, 2 up to date, 0 failed" in found[-1][1]
    assert "pip install 'phyagi-assets[pipeline]'" in cache
    assert "old.txt" in explained
    assert "estimated" not in standing
    assert "new: its tokens are estimated from its size alone: " in estimated


@pytest.fixture(scope="module")
def refused(mixed: Workspace) -> dict[str, tuple[int, str]]:
    """Exit codes and outputs of commands that build, in one interpreter."""
    words = {verb: [verb, "--data", str(mixed.data)] for verb in ("materialize", "ui")} | {"init": ["init", str(mixed.data / "fresh")]}
    return dict(zip(words, run_without(list(EXTRAS), list(words.values())), strict=True))


@pytest.mark.parametrize("verb", ["materialize", "ui", "init"])
def test_commands_that_build_name_the_missing_extra(mixed: Workspace, refused: dict[str, tuple[int, str]], verb: str) -> None:
    code, output = refused[verb]
    assert code == 1
    assert "is not installed; install it with: pip install 'phyagi-assets[pipeline]'" in output
    assert "Traceback" not in output
    assert not (mixed.data / "fresh").exists()
