import pickle

import pytest

from phyagi_assets.errors import StoreError
from phyagi_assets.store.manifest import MANIFEST, Manifest
from phyagi_assets.store.manifest_cache import ManifestCache


def written(folder, setting):
    manifest = Manifest.expected("step", code_version="1", inputs={}, settings={"is": setting})
    draft = folder / "draft"
    draft.write_text(manifest.to_json())
    draft.replace(folder / MANIFEST)
    return manifest


def test_manifest_is_parsed_once_and_again_when_its_file_changes(tmp_path):
    cache = ManifestCache()
    first = written(tmp_path, "a")
    assert cache.read(tmp_path) == first
    assert cache.read(tmp_path) is cache.read(tmp_path)
    second = written(tmp_path, "b")
    assert cache.read(tmp_path) == second != first
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(StoreError, match="is not a manifest"):
        cache.read(tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(StoreError, match="there is no manifest"):
        cache.read(tmp_path)


def test_another_process_gets_an_empty_cache(tmp_path):
    cache = ManifestCache()
    written(tmp_path, "a")
    for number in range(100):
        (tmp_path / f"{number}").mkdir()
        written(tmp_path / f"{number}", f"{number}")
        cache.read(tmp_path / f"{number}")
    assert len(pickle.dumps(cache)) < 200
