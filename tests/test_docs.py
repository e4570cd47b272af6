"""The code of the documentation runs."""

import re
from pathlib import Path

import pytest

from tests.support import REPOSITORY


@pytest.mark.parametrize("page", ["training.md"])
def test_the_code_of_a_page_runs_in_its_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    cells = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert cells
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, page, "exec"), names)
