"""Rendering of conversations as text with a chat template, as ``apply_chat_template`` of ``transformers`` does.

Templates are compiled once, by Jinja in a sandbox with the settings, filters and functions that ``transformers`` gives them, and without
importing ``transformers``. The block ``{% generation %}`` marks what the assistant writes.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

from phyagi_assets.errors import translate_missing_packages
from phyagi_assets.tokenizers.generation_blocks import BEGIN, BEGIN_NAME, END, END_NAME, Part, text_and_parts, write_in_place
from phyagi_assets.tokenizers.turn_marks import TURN, TURN_NAME, ends_of_turns, mark_turns

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None
DEFAULT, TOOL_USE = "default", "tool_use"
"""Names of templates: the one for any conversation, and the one for conversations with tools if it is another."""
_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
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
        self.marks_generation = bool(_GENERATION.search(source))
        self._environment = _environment(day)
        parsed = self._environment.parse(source)
        self._is_in_place = write_in_place(parsed, self._environment.tracker.blocks)
        self._has_turns = not self.marks_generation and mark_turns(parsed)
        self._template = self._environment.from_string(parsed)
        self._variables = {**self._template.globals, **variables}  # Jinja would join them anew for each conversation

    def render(self, messages: Messages, tools: Tools, *, add_generation_prompt: bool = False) -> str:
        """Return the text of a conversation.

        Raises
        ------
        Exception
            The template raises an exception, which can be of any kind.
        """
        return "".join(self._blocks(messages, tools, add_generation_prompt=add_generation_prompt))

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


def _environment(day: date | None) -> Any:
    """Return an environment with the settings of ``transformers``, and a tracker of the parts that templates mark."""
    with translate_missing_packages():
        import jinja2.exceptions
        import jinja2.ext
        import jinja2.nodes
        import jinja2.parser
        import jinja2.sandbox

    class Tracker(jinja2.ext.Extension):
        """Extension that reads ``{% generation %}`` and records where the parts inside begin and end."""

        tags = {"generation"}  # noqa: RUF012 (Jinja reads it so)

        def __init__(self, environment: jinja2.Environment) -> None:
            super().__init__(environment)
            environment.extend(tracker=self, **{BEGIN_NAME: BEGIN, END_NAME: END, TURN_NAME: TURN})
            self.blocks: list[jinja2.nodes.CallBlock] = []
            self.start()

        def start(self) -> None:
            self.written, self.parts = 0, list[Part]()

        def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body)
            self.blocks.append(call)
            return call.set_lineno(line)

        def _mark(self, caller: Any) -> str:
            content: str = caller()
            self.parts.append((self.written, self.written + len(content)))
            return content

    class Namespace(jinja2.utils.Namespace):
        """Namespace that refuses names with an underscore in front, as those of Python's internals."""

        def __init__(*args: Any, **attributes: Any) -> None:
            own, args = args[0], args[1:]
            attributes = dict(*args, **attributes)
            for name in attributes:
                _require_public(name)
            jinja2.utils.Namespace.__init__(own, attributes)

        def __setitem__(self, name: str, value: Any) -> None:
            _require_public(name)
            super().__setitem__(name, value)

    def _require_public(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace cannot have the attribute {name!r}")

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Tracker, "jinja2.ext.loopcontrols"]
    )
    environment.filters |= {"tojson": _to_json, "random": _refuse_chance}
    environment.globals |= {
        "lipsum": _refuse_chance,
        "raise_exception": _raise,
        "strftime_now": partial(_formatted, day),
        "dict": _Dictionary(),
        "namespace": Namespace,
    }
    return environment


class _Dictionary:
    """The function ``dict`` of templates, without the attributes of Python's."""

    def __call__(self, *args: Any, **items: Any) -> dict[Any, Any]:
        return dict(*args, **items)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class TemplateRefusal(Exception):
    """A template refuses a conversation, or does something that is not supported."""


def _raise(message: str) -> None:
    raise TemplateRefusal(message)


def _refuse_chance(*_: Any, **__: Any) -> None:
    raise TemplateRefusal("it draws at random (random, lipsum), so that the same conversation has other ids each time; choose one text")


def _formatted(day: date | None, form: str) -> str:
    if day is None:
        raise TemplateRefusal(
            "it writes the date of today (strftime_now), with which the same conversation has other ids tomorrow; declare the day to "
            "write, as in template_date: 2026-01-31"
        )
    return datetime.combine(day, datetime.min.time()).strftime(form)
