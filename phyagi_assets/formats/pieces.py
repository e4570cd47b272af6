"""Names of the pieces of an array: ``train-00003.npy`` is the piece of ``train.npy`` that was made from chunk 3 of a partition.

The cache of a partition of one chunk has one file per array, and that of a larger partition one file per chunk and array, which readers
treat as one array. A chunk without documents in a split has no pieces of its arrays. A piece holds whole documents, and its positions count
from its own first token.
"""

from pathlib import PurePosixPath


def piece_stem(split: str, number: int) -> str:
    """Return the stem of the file names of the pieces made from a chunk, given the split and the 0-based number of the chunk.

    Examples
    --------
    >>> piece_stem("train", 3)
    'train-00003'
    """
    return f"{split}-{number:05}"


def piece_path(path: str, number: int) -> str:
    """Return the path of a piece, given the path of the array if it were one file.

    Examples
    --------
    >>> piece_path("../cache/train.npy", 3)
    '../cache/train-00003.npy'
    """
    file = PurePosixPath(path)
    split, dot, ending = file.name.partition(".")
    return str(file.with_name(f"{piece_stem(split, number)}{dot}{ending}"))
