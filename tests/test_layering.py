"""Imports between packages, and optional dependencies."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from phyagi_assets.errors import EXTRAS
from tests.command import forget
from tests.forks import in_fork
from tests.imports import ImportOfDatasets
from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "phyagi_assets"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    ("__main__",),
    ("cli",),
    ("defs", "definitions", "components"),
    ("orchestration",),
    ("datasets",),
    ("inspection",),
    ("exports",),
    ("reading",),
    ("build",),
    ("steps",),
    ("order",),
    ("execution",),
    ("tokenizers",),
    ("sources",),
    ("formats",),
    ("store",),
    ("objects",),
    ("declare",),
    ("errors", "settings", "formatting", "paths", "processors", "suggestions", "utils", "__init__"),
]
"""Imports only point down this list: a package imports itself and what is below it."""
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}

KNOW_DAGSTER = {"cli", "defs", "definitions", "components", "orchestration"}
KNOW_TORCH = {"datasets"}
KNOW_JINJA = {f"phyagi_assets.tokenizers.{name}" for name in ("generation_blocks", "template_environment", "turn_marks")}
"""Modules that compile templates; others import them inside functions."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


NAMES = {name_of(path): path for path in MODULES}


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Return all nodes of the syntax tree of a module, which is the first."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported_by(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """Yield the imports of a module, including those inside functions unless `at_once` is set."""
    nodes = nodes_of(path)
    for node in nodes[0].body if at_once else nodes:  # type: ignore[attr-defined]
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in NAMES else f"{node.module}"


def foreign(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_by(path)}


def test_every_module_is_in_a_layer() -> None:
    assert {layer_of(path) for path in MODULES} == set(RANKS)


def test_layers_are_those_of_the_list_in_how_it_works() -> None:
    page = (REPOSITORY / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    lines = page.partition("```text\nphyagi_assets/\n")[2].partition("```")[0].splitlines()
    listed = [name.rstrip("/") for line in lines for name in line.strip().partition("   ")[0].split()]
    assert sorted(listed) == sorted(RANKS.keys() - {"__init__"})
    ranks = [RANKS[name] for name in listed]
    assert ranks == sorted(ranks)


def test_imports_point_down() -> None:
    own = [(path, name) for path in MODULES for name in imported_by(path) if name in NAMES]
    upwards = [f"{name_of(path)} imports {name}" for path, name in own if RANKS[layer_of(NAMES[name])] < RANKS[layer_of(path)]]
    assert not upwards


def test_imports_have_no_cycles() -> None:
    graph = {name: {other for other in imported_by(path) if other in NAMES and other != name} for name, path in NAMES.items()}
    TopologicalSorter(graph).prepare()


def test_only_upper_layers_import_dagster() -> None:
    assert {layer_of(path) for path in MODULES if "dagster" in foreign(path)} <= KNOW_DAGSTER


def test_only_datasets_import_torch() -> None:
    assert {layer_of(path) for path in MODULES if "torch" in foreign(path)} <= KNOW_TORCH


def test_datasets_import_steps_and_tokenizers_only_inside_functions() -> None:
    barred = ("phyagi_assets.steps", "phyagi_assets.tokenizers", "phyagi_assets.sources")
    datasets = (path for path in MODULES if layer_of(path) == "datasets")
    found = {name_of(path): [name for name in imported_by(path, at_once=True) if name.startswith(barred)] for path in datasets}
    assert not any(found.values()), found


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.torch
def test_importing_datasets_loads_no_heavy_package_except_torch(import_of_datasets: ImportOfDatasets) -> None:
    heavy = {*EXTRAS.keys() - {"torch", "tqdm"}, "pydantic", "pyarrow"}
    assert "torch" in import_of_datasets.modules
    assert not heavy & import_of_datasets.modules


def test_missing_torch_raises_an_error_with_the_command_to_install_it() -> None:
    done = run_python("import sys; sys.modules['torch'] = None; import phyagi_assets.datasets")
    assert "ImportError: phyagi_assets.datasets needs torch" in done.stderr
    assert "pip install 'phyagi-assets[train]'" in done.stderr


@pytest.mark.parametrize("failure", ["libcudart.so.12: cannot open shared object file", "No module named 'typing_extensions'"])
def test_torch_that_cannot_be_loaded_is_not_called_missing(tmp_path: Path, failure: str) -> None:
    kind = "ModuleNotFoundError" if "module" in failure else "ImportError"
    (tmp_path / "torch.py").write_text(f"raise {kind}({failure!r}, name='typing_extensions')\n", encoding="utf-8")
    done = run_python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import phyagi_assets.datasets")
    assert failure in done.stderr.splitlines()[-1]


def modules_of(layers: set[str]) -> list[str]:
    return [name for name, path in NAMES.items() if layer_of(path) in layers]


def test_modules_are_imported_without_any_extra() -> None:
    modules = [name for name in modules_of({"__main__", "cli"} | set(RANKS) - KNOW_DAGSTER - KNOW_TORCH) if name not in KNOW_JINJA]
    blocked = f"import sys, importlib; sys.modules.update(dict.fromkeys({list(EXTRAS)}))"
    done = run_python(f"{blocked}; print(len([importlib.import_module(name) for name in {modules}]))")
    assert done.stdout.strip() == str(len(modules)), done.stderr


def test_dagster_modules_are_imported_without_torch() -> None:
    modules = modules_of(KNOW_DAGSTER)
    assert in_fork(_imported_without_torch, modules) == len(modules)


def _imported_without_torch(modules: list[str]) -> int:
    forget("phyagi_assets", "torch")
    sys.modules["torch"] = None  # type: ignore[assignment]
    return len([importlib.import_module(name) for name in modules])


def test_only_the_store_builds_paths_into_a_store() -> None:
    def builds(node: ast.AST) -> bool:
        return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and ast.unparse(node.left).endswith("store.root")

    building = {name_of(path) for path in MODULES if layer_of(path) != "store" for node in nodes_of(path) if builds(node)}
    assert not building


def test_modules_name_their_subject() -> None:
    of_the_reference = {Path("utils/config.py"), Path("utils/__init__.py")}
    assert {path.relative_to(PACKAGE) for path in MODULES if "utils" in path.relative_to(PACKAGE).with_suffix("").parts} <= of_the_reference


def test_modules_do_not_print() -> None:
    printing = {name_of(path) for path in MODULES for node in nodes_of(path) if isinstance(node, ast.Name) and node.id == "print"}
    assert not printing
