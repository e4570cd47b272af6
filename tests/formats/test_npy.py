"""Headers of ``.npy`` files."""

from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from phyagi_assets.formats import npy


def test_header_is_read_again_after_a_fault_of_the_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.arange(5, dtype=np.uint16))
    parse, faults = npy._parse_header, iter([SystemError("AST constructor recursion depth mismatch"), None])

    def faulty(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
        found = parse(file)
        if fault := next(faults):
            raise fault
        return found

    monkeypatch.setattr(npy, "_parse_header", faulty)
    with (tmp_path / "a.npy").open("rb") as file:
        assert npy.read_header(file) == ((5,), np.dtype(np.uint16))
        assert np.array_equal(np.fromfile(file, np.uint16), np.arange(5))


def test_fault_of_the_parser_that_lasts_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.arange(5, dtype=np.uint16))

    def faulty(_file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
        raise SystemError("as ever")

    monkeypatch.setattr(npy, "_parse_header", faulty)
    with (tmp_path / "a.npy").open("rb") as file, pytest.raises(SystemError, match="as ever"):
        npy.read_header(file)
