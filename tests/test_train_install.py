"""An environment with the extra `train` alone trains on a mixture that was built elsewhere."""

import os
import subprocess
import tomllib
import venv
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import EXTRAS
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from tests.support import REPOSITORY, build, declare, declare_corpus, write_text

pytestmark = pytest.mark.torch

BROUGHT_BY_OTHERS = {"jinja2", "tqdm"}
"""Packages of the extra `pipeline` that other packages bring as well, as torch does."""
ABSENT = sorted(name for name, extra in EXTRAS.items() if extra == "pipeline" and name not in BROUGHT_BY_OTHERS)

PROGRAM = f"""
import importlib.util, sys
assert not [name for name in {ABSENT} if importlib.util.find_spec(name)]
import torch
from phyagi_assets.datasets import MixtureLoader, load_mixture
mixture = load_mixture(sys.argv[1])
model = torch.nn.Sequential(torch.nn.Embedding(50_304, 8), torch.nn.Linear(8, 50_304))
batch = next(iter(MixtureLoader(mixture.train, batch_size=2, num_workers=0)))
loss = torch.nn.functional.cross_entropy(model(batch["input_ids"]).flatten(0, 1), batch["labels"].flatten())
loss.backward()
with torch.no_grad():
    for parameter in model.parameters():
        parameter -= 0.1 * parameter.grad
print("trained", bool(loss > 0), mixture.explain(0)[0].documents[0].file)
"""


def _required(requirements: Iterable[str], extra: str = "") -> list[Requirement]:
    found = map(Requirement, requirements)
    return [each for each in found if each.marker is None or each.marker.evaluate({"extra": extra})]


def _closure(requirements: Iterable[Requirement]) -> set[str]:
    """Return the installed distributions that requirements need, directly or not."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        try:
            of_it = distribution(name).requires or []
        except PackageNotFoundError:  # of a build for another kind of machine
            continue
        if name not in found:
            found.add(name)
            for extra in requirement.extras or {""}:
                waiting += _required(of_it, extra)
    return found


def _site_packages(environment: Path) -> Path:
    return next(environment.glob("lib/python*/site-packages"))


def _link(environment: Path) -> None:
    """Link the distributions that pyproject.toml requires for the extra `train` into an environment, from the one of the tests."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = _closure(_required([*project["dependencies"], *project["optional-dependencies"]["train"]]))
    assert {"torch", "numpy", "obstore"} <= names
    into = _site_packages(environment)
    into.joinpath("phyagi_assets").symlink_to(REPOSITORY / "phyagi_assets")
    for name in names:
        of_it = distribution(name)
        for top in {Path(file).parts[0] for file in of_it.files or ()} - {"..", "__pycache__"}:
            if not (into / top).exists():
                (into / top).symlink_to(Path(str(of_it.locate_file(top))).resolve())


def _install(environment: Path) -> None:
    words = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", ".[train]"]
    subprocess.run(words, cwd=REPOSITORY, check=True)


@pytest.mark.parametrize("by", ["links", "pip"])
def test_extra_train_alone_trains_a_step(by: str, workspace: Workspace, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    if by == "pip" and not pytestconfig.getoption("soak"):
        pytest.skip("installing torch takes a minute; --soak does it")
    write_text(workspace.data / "raw" / "a.txt", "Word for word. " * 100)
    corpus = declare_corpus(workspace.data, "a", "raw/a.txt", splits={})
    path = declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "a", "weight": 1}])
    built = build_mixture(load_yaml(path, MixtureConfig), {"a": corpus}, {"a": list(build(corpus, workspace))}, workspace)
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=by == "pip", symlinks=True)
    (_install if by == "pip" else _link)(environment)
    words = [environment / "bin" / "python", "-I", "-c", PROGRAM, built.artifact.path / "mixture.json"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=clean, cwd=tmp_path)
    assert done.stdout == "trained True a.txt\n", done.stderr
    assert "pip install 'phyagi-assets[pipeline]'" in done.stderr
