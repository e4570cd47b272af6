"""Checks of nodes name what a node lacks."""

from pathlib import Path

import pytest

from phyagi_assets.execution import node_check
from phyagi_assets.execution.node_check import Findings, NeededFolder, NodeCheck, installed_packages


def test_other_version_of_a_package_that_writes_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check, here = NodeCheck(), installed_packages()
    assert all(here.values())
    assert check.problem() == ""
    monkeypatch.setattr(node_check, "installed_packages", lambda: {**here, "pyarrow": "7.0"})
    assert check.problem() == (
        f"has pyarrow 7.0, and this machine {here['pyarrow']}; other versions could write other bytes; "
        "install the same version on all nodes"
    )
    monkeypatch.setattr(node_check, "installed_packages", lambda: {**here, "tokenizers": ""})
    assert check.problem() == "has no tokenizers; pip install 'phyagi-assets[ray]' on all nodes, in the environment that Ray runs in"


def test_folder_that_is_deleted_before_the_check_is_seen_by_no_node(tmp_path: Path) -> None:
    gone = NeededFolder(what="source files of plays", path=tmp_path / "gone", by_all=False)
    check = NodeCheck(folders=(gone, NeededFolder(what="the store", path=tmp_path)))
    with check.marked():
        assert check.findings() == Findings(unseen=frozenset({gone}))
        gone.path.mkdir()
        assert check.findings() == Findings(unseen=frozenset({gone}))
