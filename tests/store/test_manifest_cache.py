import pytest

from phyagi_assets.errors import StoreError
from phyagi_assets.store.manifest import MANIFEST, Manifest
from phyagi_assets.store.manifest_cache import read_cached


def written(folder, setting):
    manifest = Manifest.expected("step", code_version="1", inputs={}, settings={"is": setting})
    draft = folder / "draft"
    draft.write_text(manifest.to_json())
    draft.replace(folder / MANIFEST)
    return manifest


def test_manifest_is_parsed_once_and_again_when_its_file_changes(tmp_path):
    first = written(tmp_path, "a")
    assert read_cached(tmp_path) == first
    assert read_cached(tmp_path) is read_cached(tmp_path)
    second = written(tmp_path, "b")
    assert read_cached(tmp_path) == second != first
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(StoreError, match="is not a manifest"):
        read_cached(tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(StoreError, match="there is no manifest"):
        read_cached(tmp_path)
