"""Damaged variants of files, made from a number: the same number makes the same variant in every process."""

import random
from collections.abc import Callable, Sequence


def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Damage a file as disks, transfers and writers do.

    Returns
    -------
    tuple of str and bytes
        What was done, and what came of it.
    """
    name = draw.choice(list(DAMAGES))
    return name, DAMAGES[name](content, draw)


def _flip_bits(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 8, 64])):
        bit = draw.randrange(8 * len(changed))
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _flip_in_ends(content: bytes, draw: random.Random) -> bytes:
    """Change a byte near the beginning or the end, where most formats have their structure."""
    changed = bytearray(content)
    near = min(len(changed), 400)
    at = draw.randrange(near) if draw.random() < 0.3 else len(changed) - 1 - draw.randrange(near)
    changed[at] = draw.randrange(256)
    return bytes(changed)


def _truncate(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def _lose_start(content: bytes, draw: random.Random) -> bytes:
    return content[draw.randrange(1, len(content)) :]


def _span(content: bytes, draw: random.Random) -> tuple[int, int]:
    size = draw.choice([1, 4, 8, 64, 512, len(content) // 3 + 1])
    start = draw.randrange(len(content))
    return start, min(len(content), start + size)


def _zero(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + bytes(end - start) + content[end:]


def _duplicate(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:end] + content[start:end] + content[end:]


def _lose(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + content[end:]


def _swap(content: bytes, draw: random.Random) -> bytes:
    (start, end), size = _span(content, draw), len(content)
    other = draw.randrange(size)
    width = min(end - start, size - other, abs(other - start))
    changed = bytearray(content)
    changed[start : start + width], changed[other : other + width] = content[other : other + width], content[start : start + width]
    return bytes(changed)


def _change_number(content: bytes, draw: random.Random) -> bytes:
    """Write an extreme number where an aligned one may stand: a length, an offset or a count."""
    width = draw.choice([2, 4, 8])
    value = draw.choice([0, 1, 0x7F, 0xFF, 0x7FFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
    at = draw.randrange(max(1, len(content) // width)) * width
    return content[:at] + (value % (1 << 8 * width)).to_bytes(width, draw.choice(["little", "little", "big"])) + content[at + width :]


def _append(content: bytes, draw: random.Random) -> bytes:
    return content + draw.choice([b"\0", b"\n", b"}\n", b'"', b"PAR1", draw.randbytes(draw.randrange(1, 4000)), bytes(4096)])


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped bits": _flip_bits,
    "a byte near an end": _flip_in_ends,
    "truncated": _truncate,
    "start lost": _lose_start,
    "zeroed": _zero,
    "duplicated": _duplicate,
    "lost": _lose,
    "swapped": _swap,
    "another number": _change_number,
    "appended": _append,
}


def texts(seed: int = 0, count: int = 120) -> Sequence[str]:
    """Documents of several lengths, scripts and line ends, without blank lines inside."""
    draw = random.Random(seed)
    words = ["the", "quick", "brown", "fox", "café", "naïve", "日本語", "🙂", 'quote "', "a,b", "tab\there", "αβγ", "long" * 40]
    made = [" ".join(draw.choices(words, k=draw.randrange(1, 30))) for _ in range(count)]
    return [*made, "", made[0], made[1]]
