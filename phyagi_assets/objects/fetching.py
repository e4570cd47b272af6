"""Fetch parts of objects in a separate process.

The client of the object store cannot be used in a process that was forked after its first use, as loader workers are. So every process
that reads starts a process that fetches for it, on its first request. That process also keeps requests off the interpreter of the training
process. It ends when the connection to it is closed, however the reader ends.
"""

import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import PriorityQueue
from typing import Any

from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.objects.bucket import BucketFolder

_THREADS = 32
"""Number of requests at the same time."""
_MOST_STARTS = 3
"""Largest number of starts of the process without an answer to a request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePart:
    """Part of an object that is written to a file."""

    start: int
    """First byte."""
    stop: int
    """Byte after the last one."""
    draft: str
    """Path of the file, which exists, while it is written."""
    path: str
    """Path to which the complete file is renamed."""


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
    files: Sequence[FilePart] = ()
    """Files to which parts of it are written; if there are none, the part is returned."""


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


class _Running:
    """A running process, and the thread that receives its answers."""

    def __init__(self, folder: BucketFolder) -> None:
        self._folder = folder
        self._waiting: dict[int, tuple[Future[bytes], PartRequest]] = {}
        self._lock = threading.Lock()
        self._starts = 0
        """Number of times that the process was started since it last answered a request."""
        self._problem: StoreError | None = None
        """Reason why the process is not started again; None while it may be."""
        self._is_ending = threading.Event()
        self._start()

    def _start(self) -> None:
        self._starts += 1
        self._connection, theirs = Pipe()
        program = f"from phyagi_assets.objects.fetching import serve; serve({theirs.fileno()})"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or f"{Path.cwd()}" for path in sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", program],  # -P: no module is imported from the working directory
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # an interrupt ends the reader, whose end ends this process
        )
        theirs.close()
        with suppress(OSError):  # the receiver notices that the process ended
            self._connection.send(self._folder)
        weakref.finalize(self, _end, self._is_ending, self._connection, self._process, os.getpid())
        arguments = (weakref.ref(self), self._connection, self._is_ending)
        threading.Thread(target=_receive, args=arguments, name="fetched parts", daemon=True).start()

    def submit(self, requests: Sequence[tuple[int, PartRequest]]) -> list["Future[bytes]"]:
        futures: list[Future[bytes]] = [Future() for _ in requests]
        with self._lock:
            if self._problem:
                for future in futures:
                    future.set_exception(self._problem)
                return futures
            self._waiting |= {number: (future, request) for future, (number, request) in zip(futures, requests, strict=True)}
            with suppress(OSError):  # the receiver notices that the process ended
                self._connection.send(requests)
        return futures

    def answer(self, number: int, found: bytes | BaseException) -> None:
        with self._lock:
            self._starts = 0
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
                with suppress(OSError):  # as in `submit`
                    self._connection.send([(number, request) for number, (_, request) in left.items()])
                return
            self._waiting.clear()
            self._problem = StoreError(
                f"{self._folder.address}: the process that fetches from it ended {self._starts} times, at last with exit code {code}; "
                "check its messages, and whether the machine has enough memory"
            )
        for future, _ in left.values():
            future.set_exception(self._problem)


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
    queue: PriorityQueue[tuple[int, int, PartRequest]] = PriorityQueue()
    sending = threading.Lock()

    def work() -> None:
        while True:
            _, number, request = queue.get()
            found = _answered(folder, request)
            with sending, suppress(OSError):  # the reader has ended
                connection.send((number, found))

    for _ in range(_THREADS):
        threading.Thread(target=work, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            requests: Iterable[tuple[int, PartRequest]] = connection.recv()
            for number, request in requests:
                queue.put((request.urgency, number, request))
    os._exit(0)  # without waiting for requests whose reader has ended


def _answered(folder: BucketFolder, request: PartRequest) -> Any:
    """Return the part, an empty part if it was written to a file, or the exception to raise in the reader."""
    try:
        if not request.files:
            return _read(folder, request)
        try:
            _write(folder, request)
            for file in request.files:
                Path(file.draft).replace(file.path)
        finally:
            for file in request.files:
                Path(file.draft).unlink(missing_ok=True)
        return b""
    except (PhyagiAssetsError, OSError) as problem:
        return problem
    except BaseException as problem:
        return RuntimeError(f"{type(problem).__name__}: {problem}")


def _read(folder: BucketFolder, request: PartRequest) -> bytes:
    content, size = folder.read_range(request.key, request.start, request.stop)
    _require_size(folder, request, size)
    return content


def _write(folder: BucketFolder, request: PartRequest) -> None:
    """Write the files of a request; a single one may be large, and is written as it arrives."""
    if len(request.files) == 1:
        size = folder.download_range(request.key, request.start, request.stop, Path(request.files[0].draft))
        _require_size(folder, request, size)
        return
    content = memoryview(_read(folder, request))
    for file in request.files:
        with Path(file.draft).open("r+b") as draft:
            draft.write(content[file.start - request.start : file.stop - request.start])


def _require_size(folder: BucketFolder, request: PartRequest, size: int) -> None:
    """Check the size of an object."""
    if request.size and size != request.size:
        raise StoreError(f"{folder.address}/{request.key}: has {size:,} bytes, and the mixture's plan requires {request.size:,}")
