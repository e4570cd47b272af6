"""Special tokens that separate the turns of a conversation, and that mark text that is not trained on."""

from phyagi_assets.datasets.names import named

SPECIAL_TOKENS: dict[str, dict[str, str]] = {
    "phi": {role: f"<|{role}|>" for role in ("assistant", "user", "end", "system")},
    "chatml": {
        **{role: f"<|im_start|>{role}<|im_sep|>" for role in ("assistant", "user", "system")},
        "end": "<|im_end|>",
    },
}
"""Tokens by format and type: the beginning of a turn of each role, and the end of a turn."""

MASK_TOKENS = {place: f"<|mask_{place}|>" for place in ("start", "end")}
"""Tokens at the start and the end of text that is not trained on."""


def get_special_token(special_token_format: str, special_token_type: str | None = None) -> str | dict[str, str]:
    """Return a special token of a format, or all of them.

    Parameters
    ----------
    special_token_format
        ``phi`` or ``chatml``.
    special_token_type
        ``user``, ``assistant`` or ``system`` for the beginning of a turn, ``end`` for its end; None for all.

    Returns
    -------
    str or dict of str to str
        The token, or the tokens by type.

    Raises
    ------
    ValueError
        The format or the type is unknown.

    Examples
    --------
    >>> get_special_token("phi", "user"), get_special_token("chatml", "end")
    ('<|user|>', '<|im_end|>')
    """
    tokens = named("special_token_format", SPECIAL_TOKENS, special_token_format)
    return dict(tokens) if special_token_type is None else named("special_token_type", tokens, special_token_type)


def get_mask_token(mask_token_type: str) -> str:
    """Return a token that marks text that is not trained on.

    Parameters
    ----------
    mask_token_type
        ``start`` or ``end``.

    Returns
    -------
    str
        The token.

    Raises
    ------
    ValueError
        The type is unknown.

    Examples
    --------
    >>> get_mask_token("start")
    '<|mask_start|>'
    """
    return named("mask_token_type", MASK_TOKENS, mask_token_type)
