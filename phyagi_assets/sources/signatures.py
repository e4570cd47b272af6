"""Recognize the kind of a file by its first bytes instead of its name."""

import re

HEAD = 4096
"""Number of bytes at the beginning of a file that are examined."""

BOM = b"\xef\xbb\xbf"
"""Byte order mark of UTF-8, which some editors put before the text; it is not part of the text."""

CONVERT = "convert the file, as with iconv -f WINDOWS-1252 -t UTF-8"
"""Remedy for text of an unknown encoding of one byte per character; of these, Windows-1252 is the most common one."""

_COMPRESSIONS = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bz2": re.compile(rb"BZh[1-9](?:\x31\x41\x59\x26\x53\x59|\x17\x72\x45\x38\x50\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # pzstd begins with a frame to skip
    "zip": re.compile(rb"PK(?:\x03\x04|\x05\x06)"),
}

_UNPACK = "unpack it"
_DECLARE = "declare source.format: {0}, or give the file its suffix, .{0}"
_OTHERS = {
    "a Parquet file": (re.compile(rb"PAR1"), _DECLARE.format("parquet")),
    "an encrypted Parquet file": (re.compile(rb"PARE"), "write it without encryption"),
    "an Arrow file": (re.compile(rb"ARROW1\x00\x00"), _DECLARE.format("arrow")),
    "an Arrow stream": (re.compile(rb"\xff\xff\xff\xff[\x00-\xff]{2}\x00\x00"), _DECLARE.format("arrow")),
    "an lz4 archive": (re.compile(rb"\x04\x22\x4d\x18"), f"{_UNPACK}, or compress it with gzip or zstd"),
    "a 7z archive": (re.compile(rb"7z\xbc\xaf\x27\x1c"), _UNPACK),
    "a RAR archive": (re.compile(rb"Rar!\x1a\x07"), _UNPACK),
    "a tar archive": (re.compile(rb"[\x00-\xff]{257}ustar[\x00 ]"), _UNPACK),
    "a PDF document": (re.compile(rb"%PDF-\d"), "extract its text"),
    "an SQLite database": (re.compile(rb"SQLite format 3\x00"), "export its text as JSON Lines or Parquet"),
    "an HDF5 file": (re.compile(rb"\x89HDF\r\n\x1a\n"), "export its text as JSON Lines or Parquet"),
    "a NumPy array": (re.compile(rb"\x93NUMPY"), "export its text as JSON Lines or Parquet"),
}
_POINTERS = {
    "a pointer of Git LFS": (
        re.compile(rb"version https://git-lfs\.github\.com/spec/v\d+\r?\n(?:ext-.+\n)*oid sha256:[0-9a-f]+\r?\nsize \d+\s*\Z"),
        "git lfs pull",
    ),
    "a pointer of git-annex": (re.compile(rb"/annex/objects/\S+\s*\Z"), "git annex get"),
}
_NULS = bytes(512)
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|\?xml)\b", re.IGNORECASE)
_ENCODINGS = {"UTF-32": (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"), "UTF-16": (b"\xff\xfe", b"\xfe\xff")}


def compression_of(head: bytes) -> str | None:
    """Return the compression of a file by its first bytes: ``gzip``, ``bz2``, ``xz``, ``zstd`` or ``zip``; None for a plain file."""
    return next((name for name, start in _COMPRESSIONS.items() if start.match(head)), None)


def why_not_text(head: bytes) -> str | None:
    """Return why content cannot be UTF-8 text, and how to correct it; None if it can be.

    Parameters
    ----------
    head
        First bytes of the decompressed content, at most `HEAD`.
    """
    encoding = next((name for name, marks in _ENCODINGS.items() if head.startswith(marks)), None) or _unmarked_encoding(head)
    if encoding:
        return f"is {encoding} text, not UTF-8; convert the file, as with iconv -f {encoding} -t UTF-8"
    if compression := compression_of(head):
        return f"holds {compression} data inside its compression; {_UNPACK}"
    return next((f"is {kind}, not text; {remedy}" for kind, (start, remedy) in _OTHERS.items() if start.match(head)), None)


def why_not_fetched(head: bytes) -> str | None:
    """Return why a file, of any format, lacks its content, and how to get it; None if it may be complete.

    Parameters
    ----------
    head
        First bytes of the file, at most `HEAD`.
    """
    if head and not head.strip(b"\0"):
        return f"begins with NUL bytes only, {_HOLES}"
    pointer = next(((kind, command) for kind, (whole, command) in _POINTERS.items() if whole.match(head)), None)
    return f"is {pointer[0]} to a file that was not fetched; fetch it with {pointer[1]}" if pointer else None


def why_not_whole(block: bytes) -> str | None:
    """Return why a part of a text cannot be what was written, and how to correct it; None if it may be.

    A run of 1,023 NUL bytes is always found; a shorter one may be text.
    """
    return f"contains a run of NUL bytes, {_HOLES}" if _NULS in block else None


_HOLES = "as an interrupted transfer or a power failure leaves them; fetch the file again, or write it again"


def described(head: bytes) -> str:
    """Return a phrase for messages about the kind of content, judged by its first bytes, such as ``is gzip data``."""
    if not head:
        return "is empty"
    if is_markup(head):
        return "is HTML or XML, such as the page of a failed download"
    compression = compression_of(head)
    known = f"{compression} data" if compression else next((kind for kind, (start, _) in _OTHERS.items() if start.match(head)), None)
    return f"is {known}" if known else f"begins with {head[:8]!r}"


def is_markup(head: bytes) -> bool:
    """Return whether content begins like an HTML page or an XML document."""
    return _MARKUP.match(head) is not None


def _unmarked_encoding(head: bytes) -> str | None:
    """Recognize UTF-16 and UTF-32 text without a byte order mark if it is mostly Latin, so that most of its bytes are NUL."""
    for name, size, letter in (("UTF-16LE", 2, 0), ("UTF-16BE", 2, 1), ("UTF-32LE", 4, 0), ("UTF-32BE", 4, 3)):
        count = len(head) // size
        nuls = [head[place : size * count : size].count(0) for place in range(size)]
        letters = nuls.pop(letter)
        if size * count >= 4 and letters <= 0.1 * count and min(nuls) >= 0.9 * count:
            return name
    return None
