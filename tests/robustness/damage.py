"""Ways in which bytes go bad."""

from pathlib import Path


def flip_bit(path: Path, bit: int | None = None) -> None:
    """Change one bit of a file, by default in its middle; of this file alone, where it is linked to from elsewhere."""
    content = bytearray(path.read_bytes())
    at = 4 * len(content) if bit is None else bit
    content[at // 8] ^= 1 << at % 8
    path.unlink()
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    """Leave two thirds of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
