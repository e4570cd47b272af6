"""Reading of mixtures from a bucket, through a cache of bounded size, against the same mixtures on disk."""

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.formats.find_plan import remote_plan
from phyagi_assets.formats.plan import Window
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.order.permutation import Ints
from phyagi_assets.reading import LoadedMixture, MixtureLoader, load_mixture
from phyagi_assets.reading.bucket_arrays import BucketSource
from phyagi_assets.reading.caller_pace import CallerPace
from phyagi_assets.reading.mixture_samples import ReadSamples
from phyagi_assets.settings import CacheSettings
from phyagi_assets.store.local import LocalStore
from tests.bucket_stores import store_in_bucket
from tests.reading.stored import Tokens, copied, store_mixture
from tests.s3 import BUCKET, S3Server, Storm
from tests.support import small_disk

PLACE = f"s3://{BUCKET}/store"
TOKENS: Tokens = {
    "one": {"a": {"train": 60_001, "validation": 500}, "b": {"train": 7_000}, "c": {"train": 90}},
    "two": {"d": {"train": 20_000, "validation": 100}},
}


@pytest.fixture
def disk(tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """A store on disk with the mixture ``mix``, and the same store in the bucket."""
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", f"{tmp_path / 'scratch'}")
    store = LocalStore(tmp_path / "store")
    store_mixture(store, TOKENS, seq_len=64)
    copied(store, store_in_bucket(PLACE))
    s3.faults.contents.clear()
    s3.faults.requests.clear()
    return store


def opened(cache: Path, size: int | str | None = None, **options: Any) -> LoadedMixture:
    return load_mixture("mix", store=PLACE, cache_dir=cache, cache_bytes=size, **options)


def assert_same(found: Iterator[dict[str, Any]], expected: Iterator[dict[str, Any]]) -> int:
    count = 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in other)
        count += 1
    return count


def size_of(cache: Path) -> int:
    """Return the size of the files in a folder; a file that is renamed meanwhile counts once."""
    sizes = {}
    for path in cache.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                sizes[path.stat().st_ino] = path.stat().st_size
    return sum(sizes.values())


@pytest.mark.parametrize("bound", [None, 100_000])
def test_bucket_yields_the_batches_of_the_disk(disk: LocalStore, s3: S3Server, tmp_path: Path, bound: int | None) -> None:
    options = {"shift_labels": True, "boundaries": True, "mask_boundaries": True}
    local, remote = load_mixture("mix", store=disk.root, **options), opened(tmp_path / "cache", bound, **options)
    assert s3.faults.requests["GET"] <= 6
    assert len(s3.faults.contents) <= 2
    for rank in range(2):
        loaders = [MixtureLoader(of.train, batch_size=5, rank=rank, world_size=2, position=30) for of in (remote, local)]
        assert_same(*(islice(loader, 60) for loader in loaders))
        assert loaders[0].state_dict() == loaders[1].state_dict()
    assert remote.validation
    assert local.validation
    assert assert_same(*(iter(MixtureLoader(of, batch_size=4)) for of in (remote.validation, local.validation))) == 3
    assert size_of(tmp_path / "cache") <= (bound or 1 << 20)
    for position in (0, 7, 8, 9, 10, 500, 3):
        wanted = np.array([position, position + 1])
        assert_same(iter([remote.train.batch(wanted)]), iter([local.train.batch(wanted)]))
    resized = [load_mixture("mix", store=store, seq_len=100, cache_dir=tmp_path / "cache").train for store in (PLACE, disk.root)]
    assert_same(*(islice(MixtureLoader(of, batch_size=3), 20) for of in resized))


@pytest.mark.usefixtures("disk")
def test_fast_caller_waits_for_whole_arrays_instead_of_fetching_single_samples(s3: S3Server, tmp_path: Path) -> None:
    train = opened(tmp_path / "cache").train
    s3.faults.contents.clear()
    s3.faults.latency = 0.1
    assert sum(len(batch["position"]) for batch in MixtureLoader(train, batch_size=16)) == len(train) > 1_300
    assert len(s3.faults.contents) < 50  # those of the first batch, and the four arrays


@pytest.mark.usefixtures("disk")
def test_evicted_arrays_are_cached_again_for_a_slow_caller(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallerPace, "is_slow", property(lambda _: True, lambda *_: None), raising=False)
    train = opened(tmp_path / "cache").train

    def fetched_in_an_epoch() -> int:
        s3.faults.contents.clear()
        assert sum(len(batch["position"]) for batch in MixtureLoader(train, batch_size=16)) == len(train)
        return len(s3.faults.contents)

    fetched_in_an_epoch()
    while len(blocks := list((tmp_path / "cache").rglob(".blocks/*/[0-9]*-*"))) < 4:
        time.sleep(0.01)
    for block in blocks:  # as another process evicts them
        os.truncate(block, 0)
        block.unlink()
    fetched_in_an_epoch()  # what was expected before
    fetched_in_an_epoch()
    assert fetched_in_an_epoch() < len(train) // 2


@pytest.mark.usefixtures("disk")
def test_next_samples_are_read_while_the_caller_has_those_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = opened(tmp_path / "cache").train
    read, is_ahead = train.read, threading.Event()

    def noted(positions: Ints) -> ReadSamples:
        found = read(positions)
        if positions[0] > 0:
            is_ahead.set()
        return found

    monkeypatch.setattr(train, "read", noted)
    with closing(iter(MixtureLoader(train, batch_size=16, prefetch=0))) as batches:
        next(batches)
        assert is_ahead.wait(10)


def test_window_is_fetched_in_blocks_that_are_used_up(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", f"{tmp_path / 'scratch'}")
    store = LocalStore(tmp_path / "store")
    tokens: Tokens = {"one": {"a": {"train": 300_001}, "b": {"train": 70_000}}, "two": {"c": {"train": 200_000}}}
    plan = store_mixture(store, tokens, seq_len=64, shuffle=Window(window=200_000))
    assert [group.block for source in plan.current.sources for group in source.groups] == [31, 23]
    copied(store, store_in_bucket(PLACE))
    local, remote = load_mixture("mix", store=store.root), opened(tmp_path / "cache", 500_000)
    s3.faults.bytes_sent = 0
    s3.faults.contents.clear()
    sizes = []
    for one, other in zip(*(MixtureLoader(of.train, batch_size=64) for of in (remote, local)), strict=True):
        assert np.array_equal(one["input_ids"], other["input_ids"])
        if int(other["position"][0]) % 512 == 0:
            sizes.append(size_of(tmp_path / "cache"))
    assert 200_000 < max(sizes) <= 500_000
    assert s3.faults.bytes_sent <= 1.05 * 128 * len(local.train)
    assert len(s3.faults.contents) < 300  # of 323 blocks, some come with the block beside them
    shutil.rmtree(tmp_path / "cache")
    assert_same(*(islice(MixtureLoader(of.train, batch_size=64), 5) for of in (remote, local)))
    s3.faults.bytes_sent = 0
    resumed = opened(tmp_path / "other cache", 500_000)
    assert_same(*(islice(MixtureLoader(of.train, batch_size=8, position=4003), 3) for of in (resumed, local)))
    assert s3.faults.bytes_sent < 300_000


def test_readers_of_one_machine_share_a_cache_that_is_hardly_larger_than_the_window(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", f"{tmp_path / 'scratch'}")
    store = LocalStore(tmp_path / "store")
    store_mixture(store, {"one": {"a": {"train": 200_000}}}, seq_len=64, shuffle=Window(window=100_000))
    copied(store, store_in_bucket(PLACE))
    plan = remote_plan("mix", store_in_bucket(PLACE))
    source, other = (BucketSource(plan, CacheSettings(folder=tmp_path / "cache", bytes=120_000)) for _ in range(2))
    train = [LoadedMixture(plan=read_plan(plan.file), home=plan.file.parent, source=of).train for of in (*[source] * 8, other)]
    used = 128 * len(train[0])
    s3.faults.bytes_sent = 0
    steps = zip(*(MixtureLoader(of, batch_size=4, rank=rank, world_size=8) for rank, of in enumerate(train[:8])), strict=True)
    assert sum(len(batch["position"]) for step in steps for batch in step) * 128 >= used
    assert s3.faults.bytes_sent <= 1.15 * used
    s3.faults.bytes_sent = 0
    first, behind = (iter(MixtureLoader(of, batch_size=4, rank=rank, world_size=2)) for rank, of in enumerate((train[0], train[-1])))
    ahead = len(list(islice(first, 72)))  # by three quarters of the window
    assert ahead + sum(len(both) for both in zip(first, behind, strict=False)) > 0.8 * used / 128 / 4
    assert s3.faults.bytes_sent <= 1.6 * used


def test_readers_in_different_orders_share_a_cache_with_room_for_both_windows(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", f"{tmp_path / 'scratch'}")
    store = LocalStore(tmp_path / "store")
    for name in ("one", "two"):
        store_mixture(store, {f"of_{name}": {"a": {"train": 150_000}}}, name, seq_len=64, shuffle=Window(window=60_000))
    copied(store, store_in_bucket(PLACE))
    train = [load_mixture(name, store=PLACE, cache_dir=tmp_path / "cache", cache_bytes=160_000).train for name in ("one", "two")]
    s3.faults.bytes_sent = 0
    assert sum(1 for _ in zip(*(MixtureLoader(of, batch_size=4) for of in train), strict=True)) == -(-len(train[0]) // 4)
    assert s3.faults.bytes_sent <= 1.2 * 128 * sum(map(len, train))


def test_evaluation_is_cached_although_the_blocks_of_training_fill_the_cache(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", f"{tmp_path / 'scratch'}")
    store = LocalStore(tmp_path / "store")
    store_mixture(store, {"one": {"a": {"train": 150_000, "validation": 5_000}}}, seq_len=64, shuffle=Window(window=60_000))
    copied(store, store_in_bucket(PLACE))
    mixture = opened(tmp_path / "cache", 160_000)
    assert mixture.validation
    assert sum(1 for _ in MixtureLoader(mixture.train, batch_size=4)) > 500
    for most in (20, 0):
        s3.faults.contents.clear()
        assert sum(1 for _ in MixtureLoader(mixture.validation, batch_size=4)) == 20
        assert len(s3.faults.contents) <= most


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("shuffle", [True, Window(window=60_000)], ids=["whole", "window"])
def test_cache_on_a_full_disk_stops_growing_and_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, shuffle: bool | Window
) -> None:
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", f"{tmp_path / 'scratch'}")
    store = LocalStore(tmp_path / "store")
    store_mixture(store, TOKENS, seq_len=64, shuffle=shuffle)
    copied(store, store_in_bucket(PLACE))
    local = load_mixture("mix", store=store.root)
    with small_disk(tmp_path / "disk", "60k") as disk:
        remote = opened(disk / "cache", 1_000_000 if shuffle is True else 150_000)
        assert_same(*(islice(MixtureLoader(of.train, batch_size=64), 6) for of in (remote, local)))
    said = [record.getMessage() for record in caplog.records if "No space left on device" in record.getMessage()]
    assert len(said) == 1
    assert re.search(r"the cache stays at .*fetched for each sample; .*cache_dir or \$PHYAGI_ASSETS_CACHE, or set a smaller", said[0])


@pytest.mark.usefixtures("disk")
def test_missing_object_and_bad_settings_are_named(s3: S3Server, tmp_path: Path) -> None:
    s3.delete("store/one/numpy_cache")
    with pytest.raises(StoreError, match=r"train\.npy cannot be read: it is gone; .* open the published plan"):
        next(iter(MixtureLoader(opened(tmp_path / "cache").train, batch_size=5)))
    with pytest.raises(StoreError, match=r"cache_bytes: is 100, and one read needs 640 bytes; set a larger cache_bytes"):
        next(iter(MixtureLoader(opened(tmp_path / "cache", 100).train, batch_size=5)))
    for size, refusal in {"1,5GB": "'1,5GB' is not a size; write it as in 8GB", "1e30GB": "'1e30G' is too large; the largest"}.items():
        with pytest.raises(PhyagiAssetsError, match=f"cache_bytes: {refusal}"):
            opened(tmp_path / "cache", size)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be written: Not a directory; .* name a folder on another disk with cache_dir"):
        opened(tmp_path / "file")


def test_server_that_is_down_or_refuses_for_a_while_is_asked_again(disk: LocalStore, s3: S3Server, tmp_path: Path) -> None:
    plan = remote_plan("mix", store_in_bucket(PLACE, retry_policy=RetryPolicy(attempts=6, pause=0.01)))
    source = BucketSource(plan, CacheSettings(folder=tmp_path / "cache", bytes=100_000))
    remote = LoadedMixture(plan=read_plan(plan.file), home=plan.file.parent, source=source)
    s3.faults.unavailable = 3
    s3.faults.cut = [10]
    local = load_mixture("mix", store=disk.root)
    assert_same(*(islice(MixtureLoader(of.train, batch_size=5), 10) for of in (remote, local)))
    s3.faults.forbidden = 3
    assert_same(*(islice(MixtureLoader(of.train, batch_size=5, position=500), 10) for of in (remote, local)))
    assert s3.faults.forbidden == 0
    s3.faults.forbidden = 1_000
    with pytest.raises(StoreError, match=r"train\.npy cannot be read: access is denied to these credentials .* \(tried 6 times\)"):
        next(iter(MixtureLoader(remote.train, batch_size=5, position=200)))
    s3.faults.forbidden = 0
    s3.faults.is_down = True
    with pytest.raises(StoreError, match=r"train\.npy cannot be read: http://\S+ cannot be reached, .* check that the server is up"):
        next(iter(MixtureLoader(remote.train, batch_size=5, position=300)))


@pytest.mark.parametrize("bound", [100_000, 2_000_000])
def test_storm_of_the_server_changes_no_batch(disk: LocalStore, s3: S3Server, tmp_path: Path, bound: int) -> None:
    plan = remote_plan("mix", store_in_bucket(PLACE, retry_policy=RetryPolicy(attempts=20, pause=0.01)))
    storm = s3.faults.storm = Storm(bound, share=0.2, stall=0.2)
    source = BucketSource(plan, CacheSettings(folder=tmp_path / "cache", bytes=bound))
    remote = LoadedMixture(plan=read_plan(plan.file), home=plan.file.parent, source=source)
    assert_same(*(islice(MixtureLoader(of.train, batch_size=5), 60) for of in (remote, load_mixture("mix", store=disk.root))))
    assert storm.raised
