"""Manifests: the same bytes for the same inputs, and detection of damage."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.errors import StoreError
from phyagi_assets.store.manifest import MANIFEST, FileRecord, Manifest

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
mappings = st.dictionaries(st.text(max_size=4), plain, max_size=4)
counts_of_documents = st.fixed_dictionaries({"documents": st.integers(0), "tokens": st.integers(0)})
counted = st.dictionaries(st.text(max_size=4), st.integers(0) | counts_of_documents, max_size=4)
finite = st.dictionaries(st.text(max_size=4), st.integers() | st.text() | st.lists(st.text(), max_size=2), max_size=4)


def wanted(inputs: dict[str, Any], settings: dict[str, Any]) -> Manifest:
    return Manifest.expected("step", code_version="1", inputs=inputs, settings=settings)


@settings(deadline=None)
@given(inputs=finite, settings=finite, counts=counted, details=mappings, size=st.integers(0))
def test_manifest_round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    inputs: dict[str, Any],
    settings: dict[str, Any],
    counts: dict[str, Any],
    details: dict[str, Any],
    size: int,
) -> None:
    folder = tmp_path_factory.mktemp("artifact")
    files = {"a/b": FileRecord(bytes=size, xxh3_128="0" * 32)}
    manifest = replace(wanted(inputs, settings), counts=counts, details=details, produced_with={"numpy": "2"}, files=files)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    assert Manifest.read(folder) == manifest


@given(settings=finite)
def test_manifest_bytes_ignore_the_order_of_keys(settings: dict[str, Any]) -> None:
    assert wanted({}, settings).to_json() == wanted({}, dict(reversed(settings.items()))).to_json()


@pytest.mark.parametrize(
    ("content", "found", "only_by_checksum"),
    [(None, "is missing", False), ("longer", "has 6 bytes where 4 were written", False), ("tixt", "checksum differs", True)],
)
def test_damaged_file_is_named(tmp_path: Path, content: str | None, found: str, only_by_checksum: bool) -> None:
    for name in ("file", "other"):
        (tmp_path / name).write_text("text")
    manifest = replace(wanted({}, {}), files={name: FileRecord.of(tmp_path / name) for name in ("file", "other")})
    assert manifest.damage(tmp_path, checksums=True) == []
    (tmp_path / "file").unlink() if content is None else (tmp_path / "file").write_text(content)
    (problem,) = manifest.damage(tmp_path, checksums=True)
    assert problem.startswith(f"{tmp_path / 'file'}: ")
    assert found in problem
    assert manifest.damage(tmp_path) == ([] if only_by_checksum else [problem])


def test_folder_without_a_manifest_is_not_an_artifact(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a finished artifact"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b"null", b'{"files": {}}', b'{"files": {"a": 1}}', json.dumps({"files": {}, "odd": 1}).encode()]
)
def test_foreign_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(StoreError, match=r"manifest.json: is not a manifest of the store"):
        Manifest.read(tmp_path)
