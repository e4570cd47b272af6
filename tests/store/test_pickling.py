"""Objects that refer to a store, sent to a process on another machine."""

from pathlib import Path

import pytest

from phyagi_assets.settings import BucketAddress
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.pickling import Pickling
from phyagi_assets.store.scratch import SCRATCH_VARIABLE
from tests.bucket_stores import store_in_bucket

PLACE = BucketAddress("s3://bucket/lab")


def test_paths_and_stores_lead_into_the_scratch_space_of_the_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = store_in_bucket(PLACE, scratch=tmp_path / "here")
    sender = Pickling.of(here, "run")
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "there"))
    receiver = Pickling(PLACE, "run")
    path, inner = here.scratch("chunks", "corpus/part"), here.inner("tokenizers")
    sent = {"path": path, "store": here, "inner": inner, "again": [path], "elsewhere": tmp_path / "raw"}
    found = receiver.loads(sender.dumps(sent))
    root = receiver.store.root
    assert root is not None
    assert root.is_relative_to(tmp_path / "there")
    assert found["path"] == root / path.relative_to(tmp_path / "here")
    assert found["again"] == [found["path"]]
    assert found["store"] is receiver.store
    assert (str(found["inner"]), found["inner"].root) == (str(inner), root / ".tokenizers")
    assert found["elsewhere"] == tmp_path / "raw"
    back = sender.loads(receiver.dumps(found))
    assert (back["path"], back["store"], back["inner"].root) == (path, here, inner.root)


def test_store_on_a_disk_has_the_same_paths_everywhere(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    sender = Pickling.of(store, "run")
    path = store.scratch("chunks", "corpus/part")
    assert Pickling(tmp_path, "run").loads(sender.dumps([path])) == [path]
