"""Conversations as text: fixed formats with optional variation, and chat templates that mark the assistant's text.

>>> question = [{"role": "user", "content": "Hi"}]
>>> apply_chat_template({"completion": question}, "phi", shuffle=False)
{'completion': '<|user|>Hi<|end|>'}
"""

import hashlib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from phyagi_assets.datasets.names import named
from phyagi_assets.datasets.rl.special_tokens import get_mask_token, get_special_token
from phyagi_assets.formatting import counted

__all__ = ["CHATML_CHAT_TEMPLATE", "GEN_TEMPLATE_PATCHES", "PHI_CHAT_TEMPLATE", "apply_chat_template", "patch_tokenizer_generation_tag"]

Message = Mapping[str, Any]

CHATML_CHAT_TEMPLATE = (
    "{% for turn in messages %}"
    "{% if turn.role == 'assistant' %}{{ turn.content ~ '<|im_end|>' }}"
    "{% elif turn.role in ('system', 'user') %}{{ '<|im_start|>' ~ turn.role ~ '<|im_sep|>' ~ turn.content ~ '<|im_end|>' }}{% endif %}"
    "{% if turn.role == 'user' %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
    "{% endfor %}"
)
"""Chat template of the format ``chatml``. Each turn of the user is followed by the beginning of an assistant's turn."""

_PHI_END = "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"

PHI_CHAT_TEMPLATE = (
    "{% for turn in messages %}{% if turn.role in ('system', 'user', 'assistant') %}"
    "{{ '<|' ~ turn.role ~ '|>\n' ~ turn.content ~ '<|end|>\n' }}"
    "{% endif %}{% endfor %}" + _PHI_END
)
"""Chat template of the format ``phi``."""

_PHI_3 = (
    "{% for turn in messages %}{% if turn.role in ('system', 'user', 'assistant') %}{{ '<|' ~ turn.role ~ '|>\n' }}"
    "{% if turn.role == 'assistant' %}{% generation %}{{ turn.content ~ '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ turn.content ~ '<|end|>' }}{% endif %}{{ '\n' }}"
    "{% endif %}{% endfor %}" + _PHI_END
)

_PHI_4 = (
    "{% for turn in messages %}{% if turn.role in ('system', 'user', 'assistant') %}{{ '<|im_start|>' ~ turn.role ~ '<|im_sep|>' }}"
    "{% if turn.role == 'assistant' %}{% generation %}{{ turn.content ~ '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ turn.content ~ '<|im_end|>' }}{% endif %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)

GEN_TEMPLATE_PATCHES = {
    "microsoft/phi-3-mini-128k-instruct": _PHI_3,
    "microsoft/phi-3-mini-4k-instruct": _PHI_3,
    "microsoft/phi-4": _PHI_4,
}
"""Templates with ``{% generation %}``, by the lower-case name of a tokenizer whose own template has none."""

_SYSTEM_MESSAGES = (
    "You are a helpful assistant.",
    "You are a careful assistant. Answer as precisely as you can.",
    "Answer the user's questions. If you do not know an answer, say so.",
    "You are an assistant that follows instructions to the letter.",
    "You are a patient teacher. Explain each step.",
    "Answer briefly and politely.",
)
_THINK_FIRST = (
    "You are an assistant that thinks before it answers. First work the problem out step by step between <think> and </think>: explore, "
    "check each step, and correct your mistakes. Then write only the final solution, with the steps that lead to it, after </think>."
)
SYSTEM_MESSAGES = {"random": _SYSTEM_MESSAGES, "cot_final": (_THINK_FIRST,)}
"""System messages by `system_message_format`, of which one is drawn."""

_VARIED = 0.1
"""Share of the user's turns that are varied."""
_LABELS = (("", ""), ("Question", "Answer"), ("Q", "A"), ("Instruction", "Response"), ("Input", "Output"), ("Problem", "Solution"))


def apply_chat_template(
    example: Mapping[str, Sequence[Message]],
    special_token_format: str,
    shuffle: bool = True,
    add_mask_tokens: bool = False,
    system_message_format: str = "random",
    system_message_prob: float = 0.25,
) -> dict[str, str]:
    """Write the conversations of an example as text.

    The text of the conversation seeds all random choices, so the same example gives the same text. The example is not modified.

    Parameters
    ----------
    example
        Conversations by name, such as ``prompt``, ``chosen`` and ``rejected``; each a list of messages with ``role`` and ``content``.
    special_token_format
        ``phi`` or ``chatml``.
    shuffle
        Whether to vary a tenth of the user's turns, with a label such as ``Question:`` before and ``Answer:`` after the text, or with other
        whitespace.
    add_mask_tokens
        Whether to put turns of the user and the system between mask tokens.
    system_message_format
        System message to add to a ``prompt`` that has none: ``random`` for one of several short messages, ``cot_final`` for a request to
        think first.
    system_message_prob
        Share of those prompts that get a system message, from 0 to 1.

    Returns
    -------
    dict of str to str
        The text of each conversation.

    Raises
    ------
    ValueError
        A format is unknown, the share is out of range, a conversation is empty, or a message has no valid role or content.
    """
    get_special_token(special_token_format)  # raises an error for an unknown format, even without messages
    system_messages = named("system_message_format", SYSTEM_MESSAGES, system_message_format)
    if not 0 <= system_message_prob <= 1:
        raise ValueError(f"system_message_prob: is {system_message_prob!r}; use a share from 0 to 1")
    formatted = {}
    for name, given in example.items():
        messages = [
            (_role(name, number, message), _content(name, number, message)) for number, message in enumerate(() if given is None else given)
        ]
        if not messages:
            raise ValueError(f"{name}: has no messages")
        draw = Random(hashlib.blake2b(repr((name, messages)).encode(), digest_size=8).digest())
        if name == "prompt" and messages[0][0] != "system" and draw.random() < system_message_prob:
            messages = [("system", draw.choice(system_messages)), *messages]
        parts = [_formatted(role, text, special_token_format, draw if shuffle else None, add_mask_tokens) for role, text in messages]
        formatted[name] = "".join(parts)
    return formatted


def _role(name: str, number: int, message: Message) -> str:
    if not isinstance(message, Mapping):
        raise ValueError(f"{name}: message {number} is of type {type(message).__name__}; use a message with role and content")
    role = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise ValueError(f"{name}: message {number} has the role {role!r}; the roles are: user, assistant, system")
    return str(role)


def _content(name: str, number: int, message: Message) -> str:
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise ValueError(f"{name}: message {number} has content of type {type(content).__name__}; use a string")
    return content or ""


def _formatted(role: str, text: str, special_token_format: str, draw: Random | None, add_mask_tokens: bool) -> str:
    if role == "user" and draw is not None and draw.random() < _VARIED:
        text = _varied(text, draw)
    turn = f"{get_special_token(special_token_format, role)}{text}{get_special_token(special_token_format, 'end')}"
    if role == "assistant" or not add_mask_tokens:
        return turn
    return get_mask_token("start") + turn + get_mask_token("end")


def _varied(text: str, draw: Random) -> str:
    """Return a question with a label before and after it, and with other whitespace around it."""
    before, after = draw.choice(_LABELS)
    heading = "#" * draw.randint(1, 4) + " " if before and draw.random() < 0.5 else ""
    colon = draw.choice((":", "")) if before else ""
    front = draw.choice(("", " ", "\n", "\n\n")) + (f"{heading}{before}{colon}" if before else "")
    behind = draw.choice((" ", "\n", "\n\n")) + (f"{heading}{after}{colon}" if after else "")
    return f"{front}{draw.choice((' ', chr(10))) if before else ''}{text}{behind}"


def patch_tokenizer_generation_tag(tokenizer: Any) -> Any:
    """Give a tokenizer a chat template that marks the assistant's text by ``{% generation %}``.

    Parameters
    ----------
    tokenizer
        A tokenizer of ``transformers``. Its `chat_template` is replaced if `GEN_TEMPLATE_PATCHES` has one for its name.

    Returns
    -------
    transformers.PreTrainedTokenizerBase
        The tokenizer.

    Raises
    ------
    ValueError
        The tokenizer has no chat template, or its template does not mark the assistant's text.
    """
    name = str(tokenizer.name_or_path)
    template = GEN_TEMPLATE_PATCHES.get(name.lower()) or tokenizer.chat_template
    if template is None:
        raise ValueError(f"tokenizer {name!r}: has no chat_template; set one with {{% generation %}} around the assistant's text")
    if "generation %}" not in str(template):
        raise ValueError(
            f"tokenizer {name!r}: its chat_template has no {{% generation %}}; put it around the assistant's text, or use one of "
            f"{counted(len(GEN_TEMPLATE_PATCHES), 'tokenizer')} with a known template: {', '.join(GEN_TEMPLATE_PATCHES)}"
        )
    tokenizer.chat_template = template
    return tokenizer
