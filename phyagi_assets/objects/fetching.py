"""Fetching parts of objects in a process of its own.

The client of the object store cannot be used in a process that was forked after its first use, as loader workers are. So every process
that reads starts a process that fetches for it, on its first request. That process also keeps requests off the interpreter of the training
process. It ends when the connection to it is closed, however the reader ends.

Parts that are returned are samples that somebody soon waits for. They are small, and are fetched before blocks, which are written to files:
some of the threads are kept for them, and while somebody waits for samples, blocks on their way let them pass.
"""

import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.objects.bucket import BucketFolder

_THREADS = 32
"""Number of requests at the same time."""
_KEPT = 8
"""Number of these that are never blocks, so that a sample does not wait for a block to end."""
_BYTES_OF_BLOCKS = 128 << 20
"""Size of the blocks that are fetched at the same time, in bytes, from which on no further one is begun."""
_LET_PASS = 0.1
"""Longest time for which a block lets samples pass before its next piece is taken, in seconds, so that samples cannot stop it."""
_MOST_STARTS = 3
"""Number of times that the process is started for requests that it did not answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRequest:
    """A request for a part of an object."""

    key: str
    """Key of the object, relative to the folder."""
    start: int
    """First byte."""
    stop: int
    """Byte after the last one."""
    size: int
    """Size that the whole object must have, in bytes; 0 for any."""
    urgency: int = 0
    """Requests with smaller numbers are made first."""
    draft: str = ""
    """Path at which the part is written to a file; if empty, the part is returned."""
    path: str = ""
    """Path to which the complete file is renamed."""

    @property
    def is_block(self) -> bool:
        """Whether the part is written to a file."""
        return bool(self.path)


class FetchingProcess:
    """The process that fetches for this one. It is started on the first request, and again in a forked process."""

    def __init__(self, folder: BucketFolder) -> None:
        self._folder = folder
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._numbers = count()
        self._running: _Running | None = None

    def start(self) -> None:
        """Start the process, so that it is ready for the first request."""
        self.submit([])

    def __reduce__(self) -> tuple[type["FetchingProcess"], tuple[BucketFolder]]:
        return FetchingProcess, (self._folder,)

    def submit(self, requests: Sequence[PartRequest]) -> list["Future[bytes]"]:
        """Make requests, and return the parts as futures; the result of a part that is written to a file is empty.

        A future raises a `StoreError` if the object does not exist, has another size, or cannot be read, and an `OSError` if the file
        cannot be written.
        """
        if self._owner != os.getpid():  # forked; another thread may have held the lock
            self._reset()
        with self._lock:
            if self._running is None:
                self._running = _Running(self._folder)
            return self._running.submit([(next(self._numbers), request) for request in requests])

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """Let samples pass blocks, while somebody waits for them."""
        running = self._running
        if running is None or self._owner != os.getpid():
            yield
            return
        running.send(True)
        try:
            yield
        finally:
            running.send(False)


class _Running:
    """A running process, and the thread that receives its answers."""

    def __init__(self, folder: BucketFolder) -> None:
        self._folder = folder
        self._waiting: dict[int, tuple[Future[bytes], PartRequest]] = {}
        self._lock = threading.Lock()
        self._starts = 0
        self._is_ending = threading.Event()
        self._start()

    def _start(self) -> None:
        self._starts += 1
        self._connection, theirs = Pipe()
        program = f"from phyagi_assets.objects.fetching import serve; serve({theirs.fileno()})"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # an interrupt ends the reader, whose end ends this process
        )
        theirs.close()
        self._connection.send(self._folder)
        weakref.finalize(self, _end, self._is_ending, self._connection, self._process, os.getpid())
        arguments = (weakref.ref(self), self._connection, self._is_ending)
        threading.Thread(target=_receive, args=arguments, name="fetched parts", daemon=True).start()

    def submit(self, requests: Sequence[tuple[int, PartRequest]]) -> list["Future[bytes]"]:
        futures: list[Future[bytes]] = [Future() for _ in requests]
        with self._lock:
            self._waiting |= {number: (future, request) for future, (number, request) in zip(futures, requests, strict=True)}
            self._send(requests)
        return futures

    def send(self, is_awaited: bool) -> None:
        """Tell the process whether somebody waits for samples."""
        with self._lock:
            self._send(is_awaited)

    def _send(self, message: Sequence[tuple[int, PartRequest]] | bool) -> None:
        with suppress(OSError):  # the receiver notices that the process ended
            self._connection.send(message)

    def answer(self, number: int, found: bytes | BaseException) -> None:
        with self._lock:
            future, _ = self._waiting.pop(number)
        if isinstance(found, BaseException):
            future.set_exception(found)
        else:
            future.set_result(found)

    def replace_dead(self) -> None:
        """Start the process again, and repeat the requests that it has not answered."""
        with self._lock:
            code = self._process.wait()
            left = dict(self._waiting)
            if self._starts < _MOST_STARTS:
                self._start()
                self._connection.send([(number, request) for number, (_, request) in left.items()])
                return
            self._waiting.clear()
        problem = StoreError(
            f"{self._folder.address}: the process that fetches from it ended {self._starts} times, at last with exit code {code}; "
            "check its messages, and whether the machine has enough memory"
        )
        for future, _ in left.values():
            future.set_exception(problem)


def _receive(running: "weakref.ref[_Running]", connection: Connection, is_ending: threading.Event) -> None:
    while True:
        try:
            number, found = connection.recv()
        except (EOFError, OSError, TypeError):  # TypeError: it was closed while this thread received a part
            break
        if (receiver := running()) is None:
            return
        receiver.answer(number, found)
        del receiver
    if not is_ending.is_set() and (receiver := running()) is not None:
        receiver.replace_dead()


def _end(is_ending: threading.Event, connection: Connection, process: "subprocess.Popen[bytes]", owner: int) -> None:
    if os.getpid() != owner:
        return
    is_ending.set()
    process.kill()
    process.wait()
    connection.close()


def serve(descriptor: int) -> None:
    """Answer the requests that come over a connection, until it is closed."""
    connection = Connection(descriptor)
    folder: BucketFolder = connection.recv()
    queue, sending = _Queue(), threading.Lock()

    def work() -> None:
        while True:
            number, request = queue.take()
            found = _answered(folder, request, queue.let_pass)
            with sending, suppress(OSError):  # the reader has ended
                connection.send((number, found))
            queue.done(request)

    for _ in range(_THREADS):
        threading.Thread(target=work, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            message: Sequence[tuple[int, PartRequest]] | bool = connection.recv()
            if isinstance(message, bool):
                queue.is_awaited = message
            else:
                queue.add(message)
    os._exit(0)  # without waiting for requests that nobody needs


class _Queue:
    """The requests that wait for a thread: samples first, then blocks, each by urgency."""

    def __init__(self) -> None:
        self._samples: list[tuple[int, int, PartRequest]] = []
        self._blocks: list[tuple[int, int, PartRequest]] = []
        self._lock = threading.Lock()
        self._has_work, self._is_quiet = threading.Condition(self._lock), threading.Condition(self._lock)
        self._samples_begun, self._blocks_begun, self._bytes_of_blocks = 0, 0, 0
        """Requests that are being made, and the bytes of the blocks among them."""
        self.is_awaited = False
        """Whether somebody waits for samples."""

    def add(self, requests: Sequence[tuple[int, PartRequest]]) -> None:
        with self._lock:
            for number, request in requests:
                heappush(self._blocks if request.is_block else self._samples, (request.urgency, number, request))
            self._has_work.notify(len(requests))

    def take(self) -> tuple[int, PartRequest]:
        """Wait for the next request, and return it with its number."""
        with self._lock:
            self._has_work.wait_for(lambda: self._samples or self._may_begin_block())
            _, number, request = heappop(self._samples or self._blocks)
            self._count(request, 1)
            return number, request

    def done(self, request: PartRequest) -> None:
        """Take note that a request is answered."""
        with self._lock:
            self._count(request, -1)
            if self._may_begin_block():
                self._has_work.notify()
            if self._has_no_samples():
                self._is_quiet.notify_all()

    def let_pass(self) -> None:
        """Wait until all samples have arrived if somebody waits for some, but not for long."""
        if self.is_awaited:
            with self._lock:
                self._is_quiet.wait_for(self._has_no_samples, _LET_PASS)

    def _has_no_samples(self) -> bool:
        return not self._samples and not self._samples_begun

    def _may_begin_block(self) -> bool:
        return bool(self._blocks) and self._blocks_begun < _THREADS - _KEPT and self._bytes_of_blocks < _BYTES_OF_BLOCKS

    def _count(self, request: PartRequest, change: int) -> None:
        if request.is_block:
            self._blocks_begun += change
            self._bytes_of_blocks += change * (request.stop - request.start)
        else:
            self._samples_begun += change


def _answered(folder: BucketFolder, request: PartRequest, let_pass: Callable[[], None]) -> Any:
    """Return the part, an empty part if it was written to a file, or the exception to raise in the reader."""
    try:
        if not request.is_block:
            content, size = folder.read_range(request.key, request.start, request.stop)
            _require_size(folder, request, size)
            return content
        draft = Path(request.draft)
        try:
            _require_size(folder, request, folder.download_range(request.key, request.start, request.stop, draft, let_pass))
            draft.replace(request.path)
        finally:
            draft.unlink(missing_ok=True)
        return b""
    except (PhyagiAssetsError, OSError) as problem:
        return problem
    except BaseException as problem:
        return RuntimeError(f"{type(problem).__name__}: {problem}")


def _require_size(folder: BucketFolder, request: PartRequest, size: int) -> None:
    """Check the size of an object."""
    if request.size and size != request.size:
        raise StoreError(f"{folder.address}/{request.key}: has {size:,} bytes, and the mixture's plan requires {request.size:,}")
