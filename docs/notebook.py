"""Write docs/tutorial.ipynb, the tutorial as a notebook, from docs/tutorial.md: ``python -m docs.notebook``."""

import json
from collections.abc import Iterator
from typing import Any

from docs.blocks import ROOT, blocks_of

PAGE = ROOT / "docs" / "tutorial.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")


def notebook_of(page: str) -> str:
    """Return a page as a Jupyter notebook: its Python blocks are cells, with the output that the page shows."""
    cells = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(_cells(page), start=1)]
    for count, cell in enumerate((cell for cell in cells if cell["cell_type"] == "code"), start=1):
        cell["execution_count"] = count
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _cells(page: str) -> Iterator[dict[str, Any]]:
    end = 0
    for block in blocks_of(page):
        if block.language == "python":
            yield from _prose(page[end : block.start])
            output = [{"name": "stdout", "output_type": "stream", "text": _lines(block.output)}] if block.output else []
            yield {
                "cell_type": "code",
                "execution_count": None,
                "metadata": {},
                "outputs": output,
                "source": _lines(block.code.rstrip("\n")),
            }
            end = block.end
    yield from _prose(page[end:])


def _prose(text: str) -> Iterator[dict[str, Any]]:
    if text.strip():
        yield {"cell_type": "markdown", "metadata": {}, "source": _lines(text.strip("\n"))}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook_of(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
