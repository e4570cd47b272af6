"""Checks of declarations, and of the integrity of stored files."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.inspection.check import check_everything
from phyagi_assets.inspection.declarations import declaration_problems
from phyagi_assets.inspection.integrity import discard_damaged, store_problems
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store import manifest
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from tests.support import GPT2, build, declare, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import store_contents


@pytest.fixture
def published(workspace: Workspace) -> Workspace:
    """A corpus and a mixture of it, built."""
    write_jsonl(workspace.data / "c.jsonl", [f"text {i}" for i in range(50)])
    corpus = declare_corpus(workspace.data, "c", "c.jsonl", splits={"validation": 0.3})
    path = declare(workspace.data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "c"}])
    build(corpus, workspace)
    build_mixture(load_yaml(path, MixtureConfig), {"c": corpus}, {"c": ["all"]}, workspace)
    return workspace


def _problems(workspace: Workspace) -> list[str]:
    looked: list[str] = []
    found = list(map(str, store_problems(workspace.store, looked.append)))
    assert looked == ["c/numpy_cache/all", "c/raw_dataset/all", "c/tokenized_arrow/all", "mix/mixed_dataset"]
    return found


def test_unchanged_store_has_no_problems(published: Workspace) -> None:
    assert _problems(published) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT], ids=errno.errorcode.get)
@pytest.mark.parametrize("operation", [(os, "stat"), (manifest, "file_digest")], ids=["size", "content"])
def test_file_on_a_disk_that_does_not_answer_is_not_damaged(
    published: Workspace, monkeypatch: pytest.MonkeyPatch, code: int, operation: tuple[Any, str]
) -> None:
    array = published.store.pointer("c/numpy_cache/all").resolve() / "train.npy"
    does, named = getattr(*operation), os.strerror(code)

    def does_not_answer(path: Any, *args: Any, **kwargs: Any) -> Any:
        if str(path) == str(array):
            raise OSError(code, named, str(path))
        return does(path, *args, **kwargs)

    monkeypatch.setattr(*operation, does_not_answer)
    (problem,) = store_problems(published.store, str, corpus="c")
    assert (problem.found, problem.version) == (f"{array}: cannot be read: {named}; try again when its disk can be read", None)
    assert discard_damaged(published.store, [problem]) == ([], [])
    assert array.parent.exists()


@pytest.mark.parametrize(
    "name", ["train.npy", "validation.npy", "train.documents.npy", "train.origins.npy", "config.json", "tokenizer/tokenizer.json"]
)
def test_flipped_bit_is_found(published: Workspace, name: str) -> None:
    file = published.store.pointer("c/numpy_cache/all").resolve() / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()  # the tokenizer's files are linked to all caches and to those of other tests
    file.write_bytes(content)
    assert _problems(published) == [f"{file}: its content is not what was written (checksum differs)"]


def test_truncated_and_missing_files_and_invalid_manifests_are_found(published: Workspace) -> None:
    cache, tokenized, plan = (
        published.store.pointer(address).resolve() for address in ("c/numpy_cache/all", "c/tokenized_arrow/all", "mix/mixed_dataset")
    )
    size = (cache / "train.npy").stat().st_size
    with (cache / "train.npy").open("r+b") as file:
        file.truncate(size - 1)
    (cache / "validation.npy").unlink()
    (tokenized / "manifest.json").write_text("[]", encoding="utf-8")
    found = _problems(published)
    beginnings = [
        f"{cache / 'train.npy'}: has {size - 1} bytes where {size} were written",
        f"{cache / 'validation.npy'}: is missing",
        f"{tokenized / 'manifest.json'}: is not a manifest of the store",
        *(f"{plan / 'mixture.json'}: names {os.path.relpath(cache, plan)}/{name}, which " for name in ("train.npy", "validation.npy")),
    ]
    assert [problem.startswith(beginning) for problem, beginning in zip(found, beginnings, strict=True)] == [True] * 5, found
    assert found[-1].endswith("which is not there; bring mix up to date")


@pytest.mark.parametrize("target", [None, ".versions"])
@pytest.mark.parametrize("address", ["c/numpy_cache/all", "mix/mixed_dataset"])
def test_obstacles_to_publishing_an_artifact_are_problems(published: Workspace, address: str, target: str | None) -> None:
    pointer = published.store.pointer(address)
    pointer.unlink()
    pointer.symlink_to(target) if target else pointer.write_text("x")
    write_text(pointer.parent / "notes.txt", "harmless")
    found = check_everything(published, [])
    assert [(problem.kind, problem.address) for problem in found.problems] == [("artifact", address)]
    assert found.problems[0].message.endswith("where the store keeps the pointer of an artifact; move it away")
    assert [line.partition(": ")[0] for line in found.left_alone] == [str(pointer.parent / "notes.txt")]


def problems(workspace: Workspace) -> list[str]:
    return list(declaration_problems(workspace, lambda _: None, lambda *_: None))


def test_declarations_that_can_be_built_have_no_problem(published: Workspace) -> None:
    looked: list[str] = []
    assert list(declaration_problems(published, looked.append, lambda *_: None)) == []
    assert looked == ["c", "mix"]


def test_all_problems_are_listed_and_nothing_is_written(published: Workspace) -> None:
    data = published.data
    write_text(data / "raw" / "x.xyz", "of what format?")
    write_text(data / "raw" / "sub" / "y.txt", "y")
    (data / "empty").mkdir()
    declare_corpus(data, "no_file", "raw/*.txt.gz")
    declare_corpus(data, "no_format", "raw/x.xyz")
    declare_corpus(data, "no_match", "raw/**/*.txt", partition_by="part-(\\d+)")
    declare_corpus(data, "no_tokenizer", "c.jsonl", tokenizer="empty")
    declare_corpus(data, "no_folder", "c.jsonl", tokenizer="nowhere")
    declare(data, "corpora", name="no_key", source={"path": "c.jsonl"}, tokenizer=str(GPT2), shards=4, dtype="int8")
    write_text(data / "corpora" / "no_yaml.yaml", "name: [")
    declare(data, "mixtures", name="no_corpus", datasets=[{"corpus": "unheard_of"}])
    declare(data, "mixtures", name="twin", datasets=[{"corpus": "c"}])
    declare(data, "mixtures", name="TWIN", datasets=[{"corpus": "c"}])
    before = store_contents(published.store.root)
    found = problems(published)
    wanted = {
        "corpora/no_file.yaml:3": "source.path: no file matches",
        "corpora/no_format.yaml:2": "source.format: the suffix of 'x.xyz' does not determine the format",
        "corpora/no_match.yaml:5": "partition_by: the group of 'part-(\\d+)' matches nothing in 'sub/y.txt'",
        "corpora/no_tokenizer.yaml": "tokenizer 'empty' cannot be loaded",
        "corpora/no_folder.yaml:4": "tokenizer: there is no folder",
        "corpora/no_key.yaml:5": "shards: is an unknown key",
        "corpora/no_key.yaml:6": "dtype: should be 'auto'",
        "corpora/no_yaml.yaml:1": "",
        "mixtures/no_corpus.yaml:3": "datasets.0.corpus: 'unheard_of' is not declared",
        "mixtures/twin.yaml:1": "name: 'twin' is also the name in",
        "mixtures/TWIN.yaml:1": "name: 'TWIN' is also the name in",
    }
    for where, what in wanted.items():
        assert any(problem.startswith(f"{data / where}") and what in problem for problem in found), (where, found)
    assert len(found) == len(wanted)
    assert store_contents(published.store.root) == before


def test_mixture_of_corpora_with_different_tokenizers_is_a_problem(published: Workspace) -> None:
    data = published.data
    save_byte_tokenizer(data / "tokenizers" / "bytes")
    declare_corpus(data, "d", "c.jsonl", tokenizer="tokenizers/bytes")
    path = declare(data, "mixtures", name="both", datasets=[{"corpus": "c"}, {"corpus": "d"}])
    (problem,) = problems(published)
    assert problem.startswith(f"{path}:2: datasets: 'c' and 'd' do not have the same tokenizer (")
    declare_corpus(data, "d", "c.jsonl", dtype="int32")
    (problem,) = problems(published)
    assert "'c' and 'd' do not have the same dtype (auto and int32); declare the same dtype for both" in problem


def test_sample_data_has_no_problems(workspace: Workspace) -> None:
    samples = Workspace(data=Path(__file__).parents[2] / "data", store=workspace.store, engines=workspace.engines)
    assert problems(samples) == []


def test_column_that_no_file_has_is_one_problem(workspace: Workspace) -> None:
    for day in "abc":
        write_jsonl(workspace.data / "raw" / f"{day}.jsonl", ["A text."])
    declare_corpus(workspace.data, "news", "raw/*.jsonl", partition_by="file", columns=["body"])
    (found,) = problems(workspace)
    assert found.startswith(f"{workspace.data / 'raw' / 'a.jsonl'}: has no column 'body'")
    assert found.endswith("(the same in 3 of 3 files)")
