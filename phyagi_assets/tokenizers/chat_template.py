"""Rendering of conversations as text with a chat template, as ``apply_chat_template`` of ``transformers`` does.

Templates are compiled once, by Jinja in a sandbox with the settings, filters and functions that ``transformers`` gives them, and without
importing ``transformers``. The block ``{% generation %}`` marks what the assistant writes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from phyagi_assets.errors import translate_missing_packages
from phyagi_assets.tokenizers.marks import Part, ends_of_turns, text_and_parts

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None
DEFAULT, TOOL_USE = "default", "tool_use"
"""Names of templates: the one for any conversation, and the one for conversations with tools if it is another."""
_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Keys of the reasoning in a message; templates read the first one, or the second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatFormat:
    """The chat templates of a tokenizer and the special tokens that they may write; hashable and picklable."""

    templates: tuple[tuple[str, str], ...]
    """Name and source of each template."""
    variables: tuple[tuple[str, str], ...]
    """Variables of the templates: name and spelling of each special token, such as ``eos_token``."""
    day: date | None = None
    """Day that templates write as that of today; None if they must not write it."""

    def source(self, *, has_tools: bool) -> str | None:
        """Return the source of the template for conversations with or without tools; None if there is none."""
        named = dict(self.templates)
        return named.get(TOOL_USE, named.get(DEFAULT)) if has_tools else named.get(DEFAULT)


class ChatTemplate:
    """A compiled chat template. One thread at a time may render with it.

    Parameters
    ----------
    variables
        Variables of the template besides the conversation.
    day
        Day that the template writes as that of today; None if it must not write it.

    Attributes
    ----------
    marks_generation
        Whether the template marks what the assistant writes by ``{% generation %}``.

    Raises
    ------
    jinja2.TemplateSyntaxError
        The template is not valid.

    Examples
    --------
    >>> template = ChatTemplate("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos }}{% endfor %}", {"eos": "|"})
    >>> template.render([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], None)
    'user: Hi|assistant: Hello|'
    """

    def __init__(self, source: str, variables: Mapping[str, str], day: date | None = None) -> None:
        with translate_missing_packages():
            from phyagi_assets.tokenizers.generation_blocks import write_in_place
            from phyagi_assets.tokenizers.template_environment import environment
            from phyagi_assets.tokenizers.turn_marks import mark_turns

        self._environment = environment(day)
        parsed = self._environment.parse(source)
        self.marks_generation = bool(self._environment.tracker.blocks)
        self._is_in_place = write_in_place(parsed, self._environment.tracker.blocks)
        self._has_turns = not self.marks_generation and mark_turns(parsed)
        self._template = self._environment.from_string(parsed)
        self._variables = {**self._template.globals, **variables}  # Jinja would merge them for each conversation

    def render(self, messages: Messages, tools: Tools, *, add_generation_prompt: bool = False) -> str:
        """Return the text of a conversation.

        Raises
        ------
        Exception
            The template raises an exception, which can be of any kind.
        """
        return "".join(self._blocks(messages, tools, add_generation_prompt=add_generation_prompt))

    def separates_turns(self) -> bool:
        """Return whether the template writes something between the contents of some turns; True if it renders no ordinary conversation.

        A template for prompts and completions may write nothing between a turn of the user and the assistant's answer.
        """
        contents = ("(1)", "(2)", "(3)")
        turns = [{"role": role, "content": content} for role, content in zip(("user", "assistant", "user"), contents, strict=True)]
        try:
            text = self.render(turns, None)
        except Exception:  # templates raise all kinds of exceptions
            return True
        return "".join(contents) not in text

    def render_with_parts(self, messages: Messages, tools: Tools) -> tuple[str, list[Part]]:
        """Return the text of a conversation, and the parts that the template marks by ``{% generation %}``."""
        pieces = self._blocks(messages, tools, add_generation_prompt=False)
        if self._is_in_place:
            return text_and_parts(pieces)
        tracker = self._environment.tracker
        blocks = []
        tracker.start()
        for block in pieces:
            blocks.append(block)
            tracker.written += len(block)
        return "".join(blocks), tracker.parts

    def render_with_ends(self, messages: Messages, tools: Tools) -> tuple[str, list[int] | None]:
        """Return the text of a conversation, and the length of the text of its first n turns, for n from 0.

        The first n turns alone are rendered as the beginning of the whole text, of this length, followed by the text after the last turn.
        The lengths are None if the template does not render turn after turn. The length for n = 0 has no meaning.
        """
        pieces = list(self._blocks(messages, tools, add_generation_prompt=False))
        return "".join(pieces), ends_of_turns(pieces, len(messages)) if self._has_turns else None

    def _blocks(self, messages: Messages, tools: Tools, *, add_generation_prompt: bool) -> Iterator[str]:
        """Yield the text of a conversation in pieces."""
        own = {"messages": list(map(_normalized, messages)), "tools": tools, "documents": None}
        variables = {**self._variables, **own, "add_generation_prompt": add_generation_prompt}
        return self._template.root_render_func(self._template.new_context(variables, shared=True))  # type: ignore[no-any-return]


def _normalized(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message without keys whose value is null, and with its reasoning under the keys that templates read."""
    if None not in message.values() and message.keys().isdisjoint(_REASONING):
        return message
    own = {key: value for key, value in message.items() if value is not None}
    reasoning = next((own[key] for key in _REASONING if key in own), None)
    return own if reasoning is None else {"thinking": reasoning, **own, "reasoning_content": reasoning}
