"""A copied store with folders in place of its links: every command reports it, and ``materialize`` restores the links."""

import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phyagi_assets.cli import main
from phyagi_assets.datasets import load_mixture
from phyagi_assets.errors import StoreError
from phyagi_assets.steps.step import Workspace
from tests.support import declare, declare_corpus, write_jsonl


def run(words: str, data: Path, store: Path) -> Result:
    return CliRunner().invoke(main, [*shlex.split(words), "--data", str(data), "--store", str(store)], env={"COLUMNS": "200"})


def samples(store: Path) -> list[list[int]]:
    return [sample["input_ids"].tolist() for sample in load_mixture("mix", store=store).train]


def test_store_copied_without_links_is_reported_and_restored(workspace: Workspace, tmp_path: Path) -> None:
    data, copies = workspace.data, (tmp_path / "copy", tmp_path / "copy_without_hidden_folders")
    write_jsonl(data / "raw" / "a.jsonl", [f"The first corpus, document {i}." for i in range(20)])
    declare_corpus(data, "first", "raw/*.jsonl")
    declare(data, "mixtures", name="mix", seq_len=32, datasets=[{"corpus": "first"}])
    assert run("materialize", data, data / "store").exit_code == 0
    for copy, left_out in zip(copies, ((), (".versions",)), strict=True):
        shutil.copytree(data / "store", copy, symlinks=False, ignore=shutil.ignore_patterns(*left_out))

    assert samples(copies[0]) == samples(data / "store")  # its versions are all there
    with pytest.raises(StoreError, match="copied without its links; restore them with: phyagi-assets materialize mix"):
        load_mixture("mix", store=copies[1])
    for copy in copies:
        checked = run("check", data, copy)
        assert checked.exit_code == 1
        for address in ("first/raw_dataset/all", "first/tokenized_arrow/all", "first/numpy_cache/all", "mix/mixed_dataset"):
            assert f"{copy / address}: is a folder where the store keeps a link: it was copied without its links" in checked.output
        assert "4 problems" in checked.output, checked.output
        restored = run("materialize", data, copy)
        assert restored.exit_code == 0, restored.output
        assert "0 built, 2 up to date, 0 failed" in restored.output
        assert samples(copy) == samples(data / "store")
        assert "0 problems" in run("check", data, copy).output

    spares = sorted(copies[0].rglob("*/.versions/*.copy"))
    assert len(spares) == 4
    array = spares[0].with_name(spares[0].name.removesuffix(".copy")) / "train.npy"
    intact = array.read_bytes()
    (copies[0] / "first" / "raw_dataset" / "all").unlink()  # the second copy of what is not published goes too
    array.write_bytes(bytes(len(intact)))  # damaged, with the size that it should have
    for expected in (spares[:1], []):
        cleaned = run("clean --yes --grace 0", data, copies[0])
        assert (cleaned.exit_code, "left alone" in cleaned.output) == (0, False), cleaned.output
        assert sorted(copies[0].rglob("*/.versions/*.copy")) == expected
        array.write_bytes(intact)
    assert samples(copies[0]) == samples(data / "store")

    write_jsonl(data / "raw" / "a.jsonl", [f"The first corpus, changed document {i}." for i in range(20)])
    assert "2 built, 0 up to date, 0 failed" in run("materialize", data, copies[0]).output
    assert samples(copies[0]) != samples(data / "store")
