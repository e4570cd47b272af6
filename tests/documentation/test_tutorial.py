"""The cells of the tutorial, a page and a notebook, print the documented output, and its arithmetic is correct.

``REWRITE_PAGES=1 pytest tests/documentation/test_tutorial.py`` writes what the cells print into the page, and the notebook.
"""

import ast
import io
import json
import os
import pprint
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs.blocks import blocks_of
from docs.notebook import NOTEBOOK, PAGE, notebook_of
from phyagi_assets.datasets import LMDataset, get_dataset
from phyagi_assets.tokenizers import conformance
from tests.hub import served
from tests.support import REPOSITORY, copy_store

FOLDER = "/home/user/tutorial"
"""Folder that the tutorial shows in place of the real working directory."""


def run_cells(cells: list[str]) -> list[str]:
    """Run cells in one namespace, as a notebook does; return the output of each, including the value of its last expression."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed: list[str] = []
    buffer = io.BytesIO()
    shown = io.TextIOWrapper(buffer, "utf-8", write_through=True)  # one for all cells: loggers keep what stderr was when they were made
    with redirect_stdout(shown), redirect_stderr(shown):
        for code in cells:
            tree = ast.parse(code)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<cell>", "exec"), names)
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if isinstance(last, ast.Expr) else None
            if value is not None:
                shown.write(f"{value!r}\n" if isinstance(value, str) else f"{pprint.pformat(value, sort_dicts=False)}\n")
            printed.append(buffer.getvalue().decode())
            buffer.seek(0)
            buffer.truncate()
    return printed


def as_seen(printed: str) -> str:
    """Return output as a terminal shows it: only the last state of a progress bar, and no trailing blanks."""
    lines = (line.rstrip().rpartition("\r")[2] for line in printed.split("\n"))
    return "\n".join(lines).replace(str(Path.cwd()), FOLDER)


def normalised(output: str) -> str:
    """Return output without the parts that differ between runs: dates, line numbers, times and speeds."""
    output = re.sub(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\]", "[date]", output)
    output = re.sub(r"\[(\w+\.py):\d+:", r"[\1:line:", output)
    return re.sub(r"\[\d\d:\d\d[^]]*\]", "[time]", output)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> list[str]:
    """Output of each cell, run against the local Hub server in an empty folder, with a store that contains the GPT-2 tokenizer."""
    folder = tmp_path_factory.mktemp("tutorial")
    store = copy_store(prepared_store, folder / "store")
    (folder / "work").mkdir()
    with served(folder) as hub:
        environment = {
            **hub.environment(store),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ["PYTHONPATH"]]),
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, "-m", "tests.documentation.test_tutorial", str(folder / "printed.json")]
        subprocess.run(command, cwd=folder / "work", env=environment, check=True)
    outputs: list[str] = json.loads((folder / "printed.json").read_text(encoding="utf-8"))
    return outputs


def test_cells_of_the_tutorial_print_the_documented_output(printed: list[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    blocks = [block for block in blocks_of(page) if block.language == "python"]
    assert len(blocks) == len(printed)
    for block, output in reversed(list(zip(blocks, printed, strict=True))):
        if normalised(output) != normalised(block.output or ""):
            assert os.environ.get("REWRITE_PAGES"), f"{block.code}prints:\n{output}"
            page = page[: block.start] + replace(block, output=output or None).text + page[block.end :]
    if os.environ.get("REWRITE_PAGES"):
        PAGE.write_text(page, encoding="utf-8")
        NOTEBOOK.write_text(notebook_of(page), encoding="utf-8")


def test_notebook_has_the_cells_and_outputs_of_the_page() -> None:
    assert NOTEBOOK.read_text(encoding="utf-8") == notebook_of(PAGE.read_text(encoding="utf-8"))


def test_outputs_are_short() -> None:
    assert all((block.output or "").count("\n") <= 20 for block in blocks_of(PAGE.read_text(encoding="utf-8")))


@pytest.fixture
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_window_and_sample_counts_of_the_tutorial_are_correct() -> None:
    np.lib.format.open_memmap("train.npy", "w+", np.uint16, (2_415_651,))  # a sparse file of zeros
    assert len(LMDataset(np.load("train.npy", mmap_mode="r"), seq_len=512)) == 4_718
    config = {"cache_dir": ".", "seq_len": 512, "weight": 1.5}
    dataset, evaluation = get_dataset([config, config], dataset_concat="random", dataset_provider="lm")
    assert (len(dataset), evaluation) == (14_154, None)
    assert dataset.cumulative_sizes == [7_077, 14_154]
    assert dataset[14_153]["input_ids"].shape == (512,)


if __name__ == "__main__":
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    conformance._code_point_groups = lambda: [range(0x300)]  # of phi-2, which differs from GPT-2 in its added tokens
    conformance.AWKWARD = 400
    Path(sys.argv[1]).write_text(json.dumps([as_seen(output) for output in run_cells(cells)]), encoding="utf-8")
