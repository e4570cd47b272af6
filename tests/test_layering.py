"""Who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "phyagi_assets"
MODULES = sorted(PACKAGE.rglob("*.py"))

UPPER = {"dagster", "phyagi_assets.components", "phyagi_assets.defs"}
FORBIDDEN = {
    "datasets": UPPER,
    "pipeline": UPPER | {"torch", "phyagi_assets.datasets"},
    "order": UPPER | {"torch", "phyagi_assets.datasets", "phyagi_assets.pipeline"},
}


def imported_by(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """What a module imports, or what it imports as soon as it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield f"{node.module}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def barred(names: Iterator[str], forbidden: set[str]) -> set[str]:
    return {name for name in names if any(name == bar or name.startswith(f"{bar}.") for bar in forbidden)}


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_a_layer_imports_nothing_that_it_must_not_know(layer: str) -> None:
    found = {path.name: barred(imported_by(path), FORBIDDEN[layer]) for path in (PACKAGE / layer).rglob("*.py")}
    assert not any(found.values()), found


def test_the_datasets_import_the_pipeline_only_where_they_write_a_cache() -> None:
    found = {
        path.name: barred(imported_by(path, at_once=True), {"phyagi_assets.pipeline"}) for path in (PACKAGE / "datasets").rglob("*.py")
    }
    assert not any(found.values()), found


def test_nothing_imports_the_command() -> None:
    outside = (path for path in MODULES if "cli" not in path.relative_to(PACKAGE).parts)
    assert not {path.name for path in outside if barred(imported_by(path), {"phyagi_assets.cli"})}


def test_only_the_layers_that_speak_to_dagster_import_it() -> None:
    speaking = {
        path.relative_to(PACKAGE).parts[0] for path in MODULES if any(name.split(".")[0] == "dagster" for name in imported_by(path))
    }
    assert speaking <= {"components", "defs", "cli", "report.py", "definitions.py"}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_datasets_costs_torch_and_numpy_only() -> None:
    heavy = ["dagster", "transformers", "datasets", "pydantic", "pyarrow"]
    done = run_python(f"import sys, phyagi_assets.datasets; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_without_torch_the_error_says_what_to_install() -> None:
    done = run_python("import sys; sys.modules['torch'] = None; import phyagi_assets.datasets")
    assert "ImportError: phyagi_assets.datasets needs torch" in done.stderr
    assert "pip install 'phyagi-assets[train]'" in done.stderr


@pytest.mark.parametrize(
    ("layers", "absent"), [(("pipeline",), ["torch", "dagster"]), (("components", "defs", "definitions", "cli", "report"), ["torch"])]
)
def test_what_has_to_build_without_a_package_is_imported_without_it(layers: tuple[str, ...], absent: list[str]) -> None:
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in MODULES)
    modules = [f"phyagi_assets.{'.'.join(path.parts)}" for path in paths if path.parts[0] in layers]
    blocked = f"import sys, importlib; sys.modules.update(dict.fromkeys({absent}))"
    done = run_python(f"{blocked}; print(len([importlib.import_module(name) for name in {modules}]))")
    assert done.stdout.strip() == str(len(modules)), done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_names_its_subject_and_does_not_print(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    where = path.relative_to(PACKAGE)
    assert "utils" not in where.with_suffix("").parts or where in (
        Path("utils/config.py"),
        Path("utils/__init__.py"),
    )  # the reference library's path
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "print"]
