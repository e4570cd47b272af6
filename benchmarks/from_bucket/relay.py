"""A relay in front of a server, which adds latency and counts the bytes that the server sends."""

import asyncio
import mmap
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 18


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
    running = Relay()
    loop = asyncio.new_event_loop()
    counter.write_bytes(bytes(8))
    with counter.open("r+b") as file:
        count = mmap.mmap(file.fileno(), 8)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port, limit=_CHUNK)

        async def up() -> None:
            while chunk := await reader.read(_CHUNK):
                if running.latency:
                    await asyncio.sleep(running.latency)
                upstream_writer.write(chunk)
                await upstream_writer.drain()
            upstream_writer.close()

        async def down() -> None:
            while chunk := await upstream_reader.read(_CHUNK):
                count[:] = struct.pack("q", struct.unpack("q", count[:])[0] + len(chunk))
                writer.write(chunk)
                await writer.drain()
            writer.close()

        with suppress(ConnectionError):  # where a contender ends without closing its connections
            await asyncio.gather(up(), down())

    server = loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", 0, limit=_CHUNK))
    running.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
