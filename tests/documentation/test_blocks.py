"""Every code block of the README and of the site runs, and prints what the page shows.

``REWRITE_PAGES=1 pytest tests/documentation`` writes what the blocks print into the pages.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docs.blocks import ROOT, blocks_of, page_files
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.scratch import SCRATCH_VARIABLE
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.command import command
from tests.documentation.running import PageRun, normalised
from tests.s3 import BUCKET, S3Server
from tests.support import DATA, GPT2, build, copy_store, declare, declare_corpus, made_once, write_jsonl, write_text

REWRITES = bool(os.environ.get("REWRITE_PAGES"))
PAGES = [path.relative_to(ROOT).as_posix() for path in page_files()]

ELSEWHERE = {"docs/tutorial.md": "tests/documentation/test_tutorial.py runs it as a notebook, against a local server of the Hub"}
"""Pages whose blocks another test runs."""

NOT_RUN = {
    "README.md": {
        "make demo": "installs an environment",
    },
    "docs/cluster.md": {
        "# on each node": "needs several machines; tests/build/test_cluster.py builds on nodes of one",
        "ray start --head": "starts a cluster of the whole machine; tests/build/test_cluster.py builds on one of its own",
        "pip install 'phyagi-assets[ray]'": "needs the nodes of a Ray cluster; tests/build/test_cluster.py builds on one",
        "run_launcher:": "needs dagster-ray, which is not a dependency of the project",
    },
    "docs/command.md": {"ssh -L": "needs another machine"},
    "docs/deploying.md": {
        "cd deploy": "needs Docker; tests/test_deployment.py compares the files",
        "docker compose run": "needs Docker",
        "docker compose down": "needs Docker",
        "docker build": "needs Docker and a Kubernetes cluster; tests/test_deployment.py compares the values with the services",
        "groupadd corpora": "changes the groups and users of the machine",
    },
    "docs/keeping-fresh.md": {"DAGSTER_HOME=": "needs the instance of a store; a command of Dagster itself"},
    "docs/performance.md": {".venv-bench/bin/python": "needs the environment of the benchmarks; tests/benchmarks runs the program"},
    "docs/training.md": {"import datasets": "needs trl, which is not a dependency of the project"},
    "docs/quickstart.md": {"python3 -m venv": "installs an environment; tests/documentation/test_quickstart.py does so with --soak"},
}
"""Beginnings of the blocks that do not run, by page, with the reason."""


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """A folder with the file that the library `tokenizers` saves."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(GPT2).backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.fixture
def demo(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> Path:
    """A folder whose folder `data` is that of the repository, with everything built."""

    def make(folder: Path) -> None:
        copy_store(prepared_store, folder / "store")
        build_everything(Workspace(data=DATA, store=LocalStore(folder / "store"), engines=EnginePool()))

    built = made_once(tmp_path_factory, "demo", make)
    for kind in ("corpora", "mixtures"):
        shutil.copytree(DATA / kind, tmp_path / "data" / kind)
    for kind in ("raw", "tokenizers"):
        (tmp_path / "data" / kind).symlink_to(DATA / kind)
    copy_store(built / "store", tmp_path / "data" / "store")
    return tmp_path


@pytest.fixture
def news(tmp_path: Path, workspace: Workspace) -> Path:
    """A folder with a source of news and the declarations of the page for assistants, built."""
    declared = [block.code for block in blocks_of((ROOT / "docs/assistants.md").read_text(encoding="utf-8")) if block.language == "yaml"]
    for code in declared:
        write_text(tmp_path / re.search(r"# (data/\S+)", code)[1], code)  # type: ignore[index]
    (workspace.data / "tokenizers").symlink_to(DATA / "tokenizers")
    write_jsonl(workspace.data / "raw" / "news" / "2026-11-21.jsonl", [f"{word} of the day. " * 200 for word in ("War", "Peace")] * 10)
    build_everything(workspace)
    return tmp_path


@pytest.fixture
def small(tmp_path: Path, workspace: Workspace) -> Path:
    """A folder with a mixture named `demo` of 1,750 samples of 32 tokens, built."""
    write_text(workspace.data / "raw" / "plays.txt", "All the world's a stage. " * 8_000)
    declare_corpus(workspace.data, "plays", "raw/*.txt")
    declare(workspace.data, "mixtures", name="demo", seq_len=32, datasets=[{"corpus": "plays"}])
    build_everything(workspace)
    return tmp_path


@pytest.fixture
def bucket(small: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, and a copy of its store in a bucket."""
    monkeypatch.setenv(SCRATCH_VARIABLE, str(small / "scratch"))
    monkeypatch.setenv("XDG_DATA_HOME", str(small / "share"))
    assert s3
    assert command("copy", small / "data" / "store", f"s3://{BUCKET}/folder").returncode == 0
    return small


def build_everything(workspace: Workspace) -> None:
    catalog = load_catalog(workspace.data)
    partitions = {name: list(build(corpus, workspace)) for name, corpus in catalog.corpora.items()}
    for mixture in catalog.mixtures.values():
        build_mixture(mixture, catalog.corpora, partitions, workspace)


SCENES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "README.md": ("small", {"names": {"model": lambda **_: SimpleNamespace(loss=0.0)}}),
    "docs/assistants.md": ("news", {}),
    "docs/command.md": ("small", {}),
    "docs/index.md": ("small", {}),
    "docs/object-store.md": ("bucket", {"replaced": {"s3://bucket/": f"s3://{BUCKET}/", "/disk/store": "disk"}}),
    "docs/order.md": ("small", {}),
    "docs/removing-documents.md": ("demo", {}),
    "docs/tokenizers.md": ("gpt2", {"replaced": {"openai-community/gpt2": str(GPT2)}}),
    "docs/training.md": ("small", {}),
    "docs/training-from-a-bucket.md": ("bucket", {"replaced": {"s3://bucket/": f"s3://{BUCKET}/", "/local/nvme": "nvme", "800GB": "8MB"}}),
}
"""Fixture of the folder in which the blocks of a page run, and what else the page takes for granted; an empty folder for other pages."""


def _parameters() -> list[Any]:
    """Return the pages that have blocks; those that import torch are marked."""
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES if page not in ELSEWHERE}
    needs_torch = re.compile(r"^(import torch|from phyagi_assets.datasets|from transformers)", re.MULTILINE)
    return [pytest.param(page, marks=[pytest.mark.torch] * bool(needs_torch.search(of))) for page, of in texts.items() if "```" in of]


@pytest.mark.parametrize("page", _parameters())
def test_blocks_of_a_page_run_and_print_the_documented_output(
    page: str, request: pytest.FixtureRequest, prepared_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, taken_for_granted = SCENES.get(page, ("empty", {}))
    folder: Path = request.getfixturevalue(scene)
    monkeypatch.chdir(folder)
    run = PageRun(folder=folder, prepared_store=prepared_store, **taken_for_granted)
    text = (ROOT / page).read_text(encoding="utf-8")
    left_out = dict(NOT_RUN.get(page, {}))
    changed = []
    for block in blocks_of(text):
        reason = next((start for start in left_out if block.code.startswith(start)), None)
        if reason is not None:
            del left_out[reason]
            continue
        line = text.count("\n", 0, block.start) + 1
        try:
            found = run.run(block)
        except BaseException as problem:
            problem.add_note(f"{page}:{line}")
            raise
        if found != block:
            changed.append((block, found))
            assert REWRITES or found.text == block.text, f"{page}:{line}"
    assert not left_out, "NOT_RUN lists blocks that the page does not have"
    for block, found in reversed(changed):
        text = text[: block.start] + found.text + text[block.end :]
    if changed:
        (ROOT / page).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_belongs_to_a_block_with_a_language(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = list(blocks_of(text))
    assert all(block.language for block in blocks)
    assert len(re.findall(r"^\s*(```|~~~)", text, re.MULTILINE)) == sum(2 if block.output is None else 4 for block in blocks)
    assert page in ELSEWHERE or blocks or "```" not in text


def test_output_is_compared_without_values_that_differ_between_runs(tmp_path: Path) -> None:
    assert normalised(f"{tmp_path}/a 2027-01-01 10:00 \n", tmp_path) == "/home/user/a 2026-11-27 22:10\n"
