"""A relay in front of a server, which adds latency and counts the bytes that the server sends.

Contents pass through pipes inside the kernel, so that the relay takes little of the processors that the contenders and the server share.
"""

import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20


@dataclass
class Relay:
    """A running relay."""

    address: str = ""
    latency: float = 0.0
    """Time by which each request is delayed, in seconds."""


def received(counter: str | Path) -> int:
    """Return the number of bytes that the server has sent so far, given the file that counts them."""
    return int(struct.unpack("q", Path(counter).read_bytes())[0])


@contextmanager
def relay(port: int, counter: Path) -> Iterator[Relay]:
    """Run a relay to a server on this machine, given the file in which it counts the bytes that the server sends."""
    running, counting = Relay(), threading.Lock()
    counter.write_bytes(bytes(8))
    with counter.open("r+b") as file:
        count = mmap.mmap(file.fileno(), 8)

    def add(size: int) -> None:
        with counting:
            count[:] = struct.pack("q", struct.unpack("q", count[:])[0] + size)

    def connect(client: socket.socket) -> None:
        upstream = socket.create_connection(("127.0.0.1", port))
        for end in (client, upstream):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _in_thread(lambda: _passed(client, upstream, lambda _size: time.sleep(running.latency)))
        _in_thread(lambda: _passed(upstream, client, add))

    def accept() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                connect(listener.accept()[0])

    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    running.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = _in_thread(accept)
    try:
        yield running
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _in_thread(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def _passed(source: socket.socket, target: socket.socket, note: Callable[[int], None]) -> None:
    """Pass what comes from one socket to another, until it ends; `note` is called with the size of each piece before it is passed on."""
    reading, writing = os.pipe()
    with suppress(OSError):  # a contender ended without closing its connections
        while size := os.splice(source.fileno(), writing, _CHUNK):
            note(size)
            while size:
                size -= os.splice(reading, target.fileno(), size)
        target.shutdown(socket.SHUT_WR)
    os.close(reading)
    os.close(writing)
