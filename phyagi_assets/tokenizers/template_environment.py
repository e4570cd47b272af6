"""The environment in which Jinja compiles chat templates: the settings, filters and functions that ``transformers`` gives them."""

import json
from datetime import date, datetime
from functools import partial
from typing import Any

import jinja2.exceptions
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils

from phyagi_assets.tokenizers.marks import BEGIN, BEGIN_NAME, END, END_NAME, TURN, TURN_NAME, Part


def environment(day: date | None) -> Any:
    """Return a sandboxed environment, with a tracker of the parts that templates mark."""
    jinja = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Tracker, "jinja2.ext.loopcontrols"]
    )
    jinja.filters |= {"tojson": _to_json, "random": _refuse_chance}
    jinja.globals |= {
        "lipsum": _refuse_chance,
        "raise_exception": _raise,
        "strftime_now": partial(_formatted, day),
        "dict": _Dictionary(),
        "namespace": Namespace,
    }
    return jinja


class _Tracker(jinja2.ext.Extension):
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
    raise TemplateRefusal("it draws at random (random, lipsum), so a conversation would have other ids each time; write a fixed text")


def _formatted(day: date | None, form: str) -> str:
    if day is None:
        raise TemplateRefusal(
            "it writes the date of today (strftime_now), so the same conversation would have other ids tomorrow; declare the day to "
            "write, as in template_date: 2026-01-31"
        )
    return datetime.combine(day, datetime.min.time()).strftime(form)
