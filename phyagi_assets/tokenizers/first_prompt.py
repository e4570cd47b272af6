"""Find the generation prompt before a first turn of the assistant, for templates that render the prompt only after other turns.

Some templates, such as OLMo 2's, render the generation prompt inside their loop over the messages, and so leave it out if there are no
messages. The text before the content of a first turn of the assistant is found by rendering short conversations.
"""

from contextlib import suppress

from phyagi_assets.tokenizers.chat_template import ChatTemplate, Messages

_CONTENT = "x"
_TURNS: dict[str, Messages] = {role: [{"role": role, "content": _CONTENT}] for role in ("user", "assistant")}
"""Conversations of one turn, by role."""


def missing_first_prompt(template: ChatTemplate) -> str | None:
    """Return the generation prompt that a template renders before a first turn of the assistant, but leaves out without messages.

    Returns
    -------
    str or None
        The prompt; empty if the template does not leave it out. None if the text before the content of a first turn is not the generation
        prompt.

    Examples
    --------
    >>> loop = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if loop.last and add_generation_prompt %}<assistant>{% endif %}"
    >>> missing_first_prompt(ChatTemplate(loop + "{% endfor %}", {}))
    '<assistant>'
    """
    try:
        start = template.render([], None)
        leaves_out = template.render([], None, add_generation_prompt=True) == start
        first = template.render(_TURNS["assistant"], None)
    except Exception:  # templates raise all kinds of exceptions
        return ""
    if not leaves_out or not first.startswith(start):
        return ""
    prompts = [prompt for messages in _TURNS.values() if (prompt := _prompt_after(template, messages))]
    written = first.removeprefix(start)
    if not prompts or written.startswith(_CONTENT):
        return ""
    return next((prompt for prompt in prompts if written.startswith(prompt)), None)


def _prompt_after(template: ChatTemplate, messages: Messages) -> str:
    """Return the generation prompt after some turns; empty if the rendering does not begin with these turns."""
    with suppress(Exception):
        without, prompted = (template.render(messages, None, add_generation_prompt=asks) for asks in (False, True))
        if prompted.startswith(without):
            return prompted.removeprefix(without)
    return ""
