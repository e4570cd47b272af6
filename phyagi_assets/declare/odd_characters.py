"""Characters in declarations that look like others: invisible ones, typographic quotes, letters of another alphabet."""

import unicodedata

_OPENING, _CLOSING = "“”„‟‘’‚‛«»", "“”‟‘’‛«»"


def described_character(text: str) -> str:
    """Return the first character of a text that is not ASCII, for a message; empty if there is none.

    Examples
    --------
    >>> described_character("n\\u0430me")
    'U+0430 (CYRILLIC SMALL LETTER A)'
    """
    odd = next((letter for letter in text if not letter.isascii()), "")
    return f"U+{ord(odd):04X} ({unicodedata.name(odd, 'without a name')})" if odd else ""


def misread_text(text: str) -> str:
    """Return why an unquoted value probably differs from what its writer sees, and the remedy; empty for any other text."""
    if len(text) > 1 and text[0] in _OPENING and text[-1] in _CLOSING:
        return f"{text} has typographic quotes, which are part of the text to YAML; write straight quotes, or add them if you mean these"
    odd = next((edge for edge in text[:1] + text[-1:] if not edge.isascii() and unicodedata.category(edge) in ("Cf", "Zs")), "")
    if not odd:
        return ""
    return f"{text!r} begins or ends with the invisible character {described_character(odd)}; remove it, or quote the value if you mean it"
