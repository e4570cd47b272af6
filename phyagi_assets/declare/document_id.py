"""Ids of documents."""


def document_id(text_hash: int) -> str:
    """Return the id of a document: the XXH3-64 of its text in UTF-8 as 16 hexadecimal digits. Documents with equal texts have one id.

    Examples
    --------
    >>> document_id(0x2D06800538D394C2)
    '2d06800538d394c2'
    """
    return f"{text_hash:016x}"
