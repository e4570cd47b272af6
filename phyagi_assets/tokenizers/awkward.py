"""Strings on which tokenizer engines tend to disagree."""

import random
from collections.abc import Sequence

# fmt: off
PIECES = (
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\x00", "\x0b", "\x0c", "\x1f", "\x7f", "\x85", "\xa0", "\xad",
    "\u1680", "\u180e", "\u2000", "\u200b", "\u200c", "\u200d", "\u2028", "\u2029", "\u202e", "\u2060", "\u3000", "\ufeff", "\ufffd",
    "a", "Z", "the", "Hello", "wORLD", "naïve", "e\u0301", "\u0301", "\u0301\u0301", "A\u030a", "ﬁ", "ſ", "İ", "ı", "ß", "ẞ", "Ǆ", "K",
    "'s", "'S", "'t", "'re", "'RE", "'ve", "'m", "'ll", "'d", "'D", "'", "''", "\u2019s", "'ſ", "n't", "I'M",
    "0", "1", "12", "123", "1234", "12345678", "3.14", "1,000", "½", "²", "Ⅷ", "٣", "४", "𝟘",
    ".", "...", "!?", "--", "—", "(", ")", "[[", "{}", "#", "@", "//", "\\", "\\n", "\"", "`", "_",
    "__init__", "<", ">", "<|", "|>", "</s>", "[INST]",
    "Ω", "я", "Привет", "שלום", "مرحبا", "नमस्ते", "กำ", "中", "文字", "日本語", "ｶﾞ", "한국어", "각", "ᄀ",
    "ꙮ", "𐐷", "𝒳", "🙂", "👍🏽", "👩\u200d👩\u200d👧", "🇩🇪", "🏴\U000e0067\U000e0062\U000e007f",
    "\ue000", "\U000f0000", "\U0010ffff", "\u0378", "\ufdd0", "aaaaaaaa", "        ", "\n\n\n\n",
    "==========", "if (x) {\n\treturn;\n}", "http://a.b/c?d=e&f", "a_b-c.d",
)
# fmt: on
"""Test strings: all kinds of whitespace, control characters, combining marks, contractions, numbers, scripts, emoji sequences, and private
and unassigned code points."""


def awkward_strings(added_tokens: Sequence[str], *, count: int, seed: int = 0) -> list[str]:
    """Return strings that are hard to tokenize: `PIECES`, each added token in several contexts, and random sequences of both.

    Parameters
    ----------
    count
        Number of random sequences.
    seed
        Seed of the random sequences; the same seed gives the same strings.
    """
    around = [f"{before}{token}{after}" for token in added_tokens for before, after in _SURROUNDINGS]
    parts = [token[: len(token) // 2] for token in added_tokens]
    draw = random.Random(seed)
    pool = [*PIECES, *added_tokens[:64], *parts[:64]]
    return [*PIECES, *around, *parts, *("".join(draw.choices(pool, k=draw.randint(2, 24))) for _ in range(count))]


_SURROUNDINGS = (("", ""), ("a", "b"), (" ", " "), ("  ", "\n"), ("\n", "1"), ("'", "'s"), ("é", "é"), ("\u0301", "\u0301"))
