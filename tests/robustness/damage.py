"""Ways of damaging files."""

from pathlib import Path


def flip_bit(path: Path, bit: int | None = None) -> None:
    """Flip one bit of a file, by default in its middle, without changing other hard links to it."""
    content = bytearray(path.read_bytes())
    at = 4 * len(content) if bit is None else bit
    content[at // 8] ^= 1 << at % 8
    path.unlink()
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    """Truncate a file to two thirds."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
