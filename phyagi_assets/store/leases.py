"""Leases: objects in a bucket that tell other machines that this one works on something.

A holder renews its lease until it is done. A lease that is not renewed has expired, and any machine may delete it. No clocks are compared:
an observer waits and sees whether the time of writing changes. Correctness never depends on the lease of a build, which only prevents two
machines from doing the same work. Within one machine, locks of the kernel come first, so that a lease of the same machine whose lock is
free has expired.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from phyagi_assets.errors import StoreError
from phyagi_assets.objects.bucket import BucketFolder

_LONG_EXPIRED = timedelta(hours=1)
"""Age after which a lease is abandoned: its holder has died, and is not only slow."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leases:
    """The leases in a folder of a bucket.

    Parameters
    ----------
    machine
        Identity of the scratch folder of this machine, whose locks are taken before the leases.
    beat
        Time between two renewals of a lease, in seconds.
    expiry
        Time without a renewal after which a lease has expired, in seconds.
    """

    folder: BucketFolder
    machine: str
    beat: float = 15.0
    expiry: float = 60.0

    @contextmanager
    def held(self, name: str, waiting: str = "") -> Iterator[Callable[[], bool]]:
        """Hold a lease, and wait while another machine holds it. The caller holds the lock of the same name on this machine.

        Parameters
        ----------
        waiting
            Message to log if another machine holds it; none if empty.

        Raises
        ------
        StoreError
            The server refuses to create the lease, although there is none.

        Yields
        ------
        callable
            Function that returns whether the lease was held without a break: it was always renewed before it could expire.
        """
        since = time.monotonic()
        while not self.folder.create(name, self.machine.encode()) and not self._is_own(name):
            if (written := self._written(name)) is None:  # it was deleted in the meantime, or the server refuses to create it
                if time.monotonic() - since > self.expiry:
                    raise StoreError(
                        f"{self.folder.address}/{name}: cannot be created, although it does not exist; delete what is below it"
                    )
                time.sleep(self.beat / 15)
                continue
            if waiting:
                logger.info("%s on another machine", waiting)
            # A dead machine can leave many leases. Those that are old by the server's clock are not waited for one after another.
            age = (self.now() - written).total_seconds()
            self.wait(name, min(self.expiry, max(0.0, 2 * self.expiry - age)))
            since = time.monotonic()
        with self._renewed(name) as is_held:
            yield is_held

    @contextmanager
    def held_if_free(self, name: str) -> Iterator[bool]:
        """Hold a lease unless another machine holds it. Yields whether it is held."""
        if not self.folder.create(name, self.machine.encode()) and not self._is_own(name) and not self._is_long_expired(name):
            yield False
            return
        with self._renewed(name):
            yield True

    def _is_own(self, name: str) -> bool:
        return self.folder.read(name) == self.machine.encode()

    def _is_long_expired(self, name: str) -> bool:
        written = self._written(name)
        return written is None or self.now() - written > _LONG_EXPIRED

    def now(self) -> datetime:
        """Return the time by the clock of the server, which may differ from that of this machine, by writing an object."""
        name = f"clock/{uuid.uuid4().hex}"
        self.folder.write(name, b"")
        try:
            return self._written(name) or datetime.now(UTC)
        finally:
            self.folder.delete([name])

    def _written(self, name: str) -> datetime | None:
        """Return the time of the last renewal of a lease by the server's clock; None if there is no lease."""
        return next((stored.written for stored in self.folder.list(name.rpartition("/")[0]) if stored.key == name), None)

    def names(self, folder: str) -> list[str]:
        """Return the names of the leases in a folder, whether or not they have expired."""
        return [stored.key for stored in self.folder.list(folder)]

    def forget_abandoned(self, before: datetime) -> None:
        """Delete the leases last renewed before a time by the clock of the server. Killed processes leave such leases behind."""
        self.folder.delete(stored.key for stored in self.folder.list() if stored.written < before)

    def wait(self, name: str, expiry: float | None = None) -> None:
        """Wait until a lease is deleted, and delete it if it has expired.

        The caller holds the lock of the same name on this machine.

        Parameters
        ----------
        expiry
            Time without a renewal after which the lease has expired, in seconds; by default, that of all leases.
        """
        if self._is_own(name):
            self.folder.delete([name])
            return
        seen, since = self._written(name), time.monotonic()
        while seen is not None:
            time.sleep(min(1.0, self.beat))
            now = self._written(name)
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > (self.expiry if expiry is None else expiry):
                self.folder.delete([name])
                return

    @contextmanager
    def _renewed(self, name: str) -> Iterator[Callable[[], bool]]:
        """Renew a lease within the context, and delete it at the end."""
        done, written, is_lost = threading.Event(), time.monotonic(), False

        def is_held() -> bool:
            # A lease that was not renewed in time stays lost, even if it is renewed later: another machine may have taken over.
            nonlocal is_lost
            is_lost = is_lost or time.monotonic() - written >= self.expiry / 2
            return not is_lost

        def renew() -> None:
            nonlocal written
            while not done.wait(self.beat):
                try:
                    began = time.monotonic()
                    self.folder.write(name, self.machine.encode())
                    if is_held():
                        written = began
                except StoreError as problem:
                    logger.debug("the lease %s was not renewed: %s", name, problem)

        thread = threading.Thread(target=renew, name=f"lease of {name}", daemon=True)
        thread.start()
        try:
            yield is_held
        finally:
            done.set()
            thread.join()
            with suppress(StoreError):  # it expires
                self.folder.delete([name])
