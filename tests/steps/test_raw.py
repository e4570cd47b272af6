"""raw_dataset: the files of a partition."""

import pytest

from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Workspace
from tests.support import declare_corpus, write_text


def test_deleted_file_of_a_partition_is_named_and_a_renamed_one_is_not(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    files = [write_text(workspace.data / "c" / name, name) for name in ("a.txt", "b.txt", "c.txt")]
    corpus = declare_corpus(workspace.data, "c", "c/*.txt")

    def build() -> list[str]:
        caplog.clear()
        build_raw(corpus, workspace.sources.partitions(corpus)["all"], workspace)
        return caplog.messages

    assert build() == []
    files[0].rename(workspace.data / "c" / "d.txt")
    assert build() == []
    files[1].unlink()
    assert build() == ["c/raw_dataset/all is built without 1 file of its earlier version: b.txt"]
    assert build() == []
