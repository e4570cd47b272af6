"""Checks of nodes name what a node lacks."""

import pytest

from phyagi_assets.execution import node_check
from phyagi_assets.execution.node_check import NodeCheck, installed_packages


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
