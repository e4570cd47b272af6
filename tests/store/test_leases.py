"""Leases on a real S3 server: one holder at a time among machines, and expiry."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from phyagi_assets.errors import StoreError
from phyagi_assets.objects.bucket import BucketFolder
from phyagi_assets.store import leases as module
from phyagi_assets.store.leases import Leases
from tests.s3 import S3Server

pytestmark = pytest.mark.usefixtures("s3")


def leases(machine: str, expiry: float = 60.0) -> Leases:
    return Leases(folder=BucketFolder("s3://raw/lab/.leases"), machine=machine, beat=0.05, expiry=expiry)


def wait_for(is_so: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("waited for half a minute")


def test_lease_is_held_by_one_machine_at_a_time() -> None:
    with leases("a").held("build/x") as is_held:
        assert is_held()
        with leases("b").held_if_free("build/x") as held:
            assert not held
        with leases("b").held_if_free("build/y") as held:
            assert held
    with leases("b").held_if_free("build/x") as held:
        assert held


def test_waiting_machine_gets_the_lease_when_the_holder_is_done() -> None:
    order: list[str] = []

    def wait() -> None:
        with leases("b").held("build/x"):
            order.append("b")

    with leases("a").held("build/x"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        order.append("a")
    waiting.join(30)
    assert order == ["a", "b"]


def test_lease_of_a_dead_machine_expires() -> None:
    other = leases("b", expiry=0.2)
    other.folder.create("build/x", b"a")
    with other.held("build/x"):
        assert other.names("build") == ["build/x"]
    assert other.names("build") == []


def test_lease_that_was_not_written_in_time_stays_lost(s3: S3Server) -> None:
    with leases("a", expiry=0.4).held("removals/x") as is_held:
        assert is_held()
        s3.faults.forbidden = 10**6
        wait_for(lambda: not is_held())
        s3.faults.forbidden = 0
        s3.faults.requests.clear()
        wait_for(lambda: s3.faults.requests["PUT"] > 1)
        assert not is_held()


def test_lease_that_is_old_by_the_clock_of_the_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    other, began = leases("b"), time.monotonic()
    other.folder.create("build/x", b"a")
    monkeypatch.setattr(Leases, "now", lambda _: datetime.now(UTC) + timedelta(minutes=3))
    with other.held("build/x"):
        assert time.monotonic() - began < other.expiry / 2


def test_lease_that_the_server_does_not_create_is_an_error() -> None:
    here = leases("a", expiry=0.1)
    here.folder.create("build/x/y", b"")  # the server stores objects as files, so x is a folder
    with pytest.raises(StoreError, match="build/x: cannot be created, although it does not exist"), here.held("build/x"):
        pass


def test_lease_of_a_killed_process_of_the_same_machine_is_taken_over_at_once() -> None:
    again = leases("a")
    again.folder.create("build/x", b"a")
    with again.held_if_free("build/x") as held:
        assert held


def test_lease_does_not_expire_early_if_the_local_clock_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Ahead":
            return cls.fromtimestamp(datetime.now(tz).timestamp() + 2 * 3600, tz)

    monkeypatch.setattr(module, "datetime", Ahead)
    with leases("a").held("build/x"), leases("b").held_if_free("build/x") as held:
        assert not held
    assert abs(leases("a").now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert leases("a").names("clock") == []
