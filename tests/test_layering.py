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

FORBIDDEN = {
    "datasets": {"dagster", "phyagi_assets.pipeline", "phyagi_assets.components", "phyagi_assets.defs"},
    "pipeline": {"dagster", "torch", "phyagi_assets.components", "phyagi_assets.defs", "phyagi_assets.datasets"},
    "": {"phyagi_assets.cli"},
}


def imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield f"{node.module}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_a_layer_imports_nothing_that_it_must_not_know(layer: str) -> None:
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in (PACKAGE / layer).rglob("*.py")
        for name in imported_by(path)
        if any(name == barred or name.startswith(f"{barred}.") for barred in FORBIDDEN[layer])
    }
    assert not found


def test_only_the_layers_that_speak_to_dagster_import_it() -> None:
    speaking = {
        path.relative_to(PACKAGE).parts[0] for path in MODULES if any(name.split(".")[0] == "dagster" for name in imported_by(path))
    }
    assert speaking <= {"components", "defs", "cli.py", "report.py", "definitions.py"}


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
def test_a_module_is_short_and_the_library_does_not_print(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 250
    assert "utils" not in (path.stem, *path.relative_to(PACKAGE).parts)
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and node.id == "print"]
