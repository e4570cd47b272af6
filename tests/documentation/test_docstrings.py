"""Docstrings of the exported API follow numpydoc; the checks are listed in pyproject.toml."""

import inspect
import tomllib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from numpydoc.validate import ERROR_MSGS, validate
from pydantic import BaseModel

import phyagi_assets.datasets
from phyagi_assets.declare import corpus_schema, mixture_schema, schema
from phyagi_assets.orchestration import component
from tests.support import REPOSITORY

CONFIGURED = set(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["numpydoc_validation"]["checks"])
CHECKS = set(ERROR_MSGS) - CONFIGURED if "all" in CONFIGURED else CONFIGURED
SECTIONS = frozenset({"PR01", "RT01", "YD01"})
"""Checks that a section exists; methods and classes whose docstring has no Parameters section need none."""


def documented(path: str, found: Any) -> Iterator[tuple[str, Any]]:
    """Yield a function or a class with its public methods and properties, by the path that numpydoc imports."""
    yield path, found
    if inspect.isclass(found):
        for name, entry in vars(found).items():
            member = getattr(entry, "__func__", entry)
            is_own = isinstance(member, property) or (inspect.isfunction(member) and member.__module__.startswith("phyagi_assets."))
            if is_own and not name.startswith("_"):
                yield f"{path}.{name}", member


def defined_in(module: ModuleType, kind: type) -> list[Any]:
    return [
        found
        for found in vars(module).values()
        if inspect.isclass(found) and issubclass(found, kind) and found.__module__ == module.__name__
    ]


EXPORTED = [getattr(phyagi_assets.datasets, name) for name in phyagi_assets.datasets.__all__]
DECLARATIONS = [found for module in (schema, corpus_schema, mixture_schema) for found in defined_in(module, BaseModel)]
API = {
    path: member
    for found in [*EXPORTED, *DECLARATIONS, *defined_in(component, object)]
    for path, member in documented(f"{found.__module__}.{found.__qualname__}", found)
}


def required_checks(found: Any, text: str) -> set[str]:
    is_function = inspect.isfunction(found) and "." not in found.__qualname__
    return CHECKS if is_function or "Parameters\n---" in text else CHECKS - SECTIONS


@pytest.mark.parametrize("path", API)
def test_docstring_of_the_api_is_numpydoc(path: str) -> None:
    text = inspect.getdoc(API[path])
    assert text
    required = required_checks(API[path], text)
    assert [(code, message) for code, message in validate(path)["errors"] if code in required] == []
