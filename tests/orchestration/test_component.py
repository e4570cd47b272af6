"""The component that users name in their ``defs.yaml``."""

from importlib import import_module

import pytest
import yaml

from phyagi_assets.orchestration.component import CatalogComponent
from tests.support import REPOSITORY


def named(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("module", ["phyagi_assets.orchestration.component", "phyagi_assets.components.catalog"])
def test_component_is_found_under_its_path_and_the_earlier_one(module: str) -> None:
    assert named(f"{module}.CatalogComponent") is CatalogComponent


def test_component_of_the_project_is_named_by_its_path() -> None:
    declared = yaml.safe_load((REPOSITORY / "phyagi_assets" / "defs" / "catalog" / "defs.yaml").read_text())
    assert named(declared["type"]) is CatalogComponent
