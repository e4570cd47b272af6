"""What a document is called."""


def document_id(text_hash: int) -> str:
    """The id of a document: XXH3-64 of the UTF-8 bytes of its text, as 16 hexadecimal digits. Equal texts are one document.

    Examples
    --------
    >>> document_id(0x2D06800538D394C2)
    '2d06800538d394c2'
    """
    return f"{text_hash:016x}"
