"""Messages about the values of a declaration that do not fit its schema, in terms of its YAML file."""

import re
from collections.abc import Sequence
from datetime import date
from types import NoneType
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from phyagi_assets.declare.odd_characters import described_character
from phyagi_assets.errors import redacted
from phyagi_assets.suggestions import did_you_mean

KeyPath = tuple[str | int, ...]
"""Keys and indices of a list that lead to a value in a declaration."""

_SHAPES = {
    "tuple_type": "a list, as in [one, two]",
    "model_type": "a mapping, as in {key: value}",
    "dict_type": "a mapping, as in {validation: 0.05}",  # splits, the only mapping whose keys are no fields
}
"""Descriptions for the pydantic errors whose own messages name Python types or classes of this package."""

_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+")
"""Numbers with an exponent, which YAML 1.1 reads as text unless they have a point and a sign."""
_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})? ?%")
_DECIMAL = re.compile(r"[-+]?[0-9]{1,20}([.,][0-9]{1,20})?")
_PLAIN = re.compile(r"(~/)?[\w./][\w./*@~:-]{0,79}(?<!:)")
"""Texts that YAML reads unchanged."""
_SHOWN = 100
"""Largest number of characters of a wrong value that an error message shows."""


def validation_message(problem: ErrorDetails, at: KeyPath, model: type[BaseModel], written: str | None) -> str:
    """Return the message about a validation error of a key, given its value as it is written in the file if that is a scalar."""
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    found = shown(problem["input"])
    if written is not None and isinstance(problem["input"], NoneType | bool | date):
        found = redacted(written[:_SHOWN]) or "nothing"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, at[:-1])
        message = f"is an unknown key{_meant(str(at[-1]), at[:-1], known, model) or '.'} The keys are: {', '.join(known)}"
    elif problem["type"] == "missing":
        message = "is missing"
    elif problem["type"] in _SHAPES:
        message = f"should be {_shape(problem['type'], problem['input'], _fields_at(model, at))} (found {found})"
        if problem["type"] == "tuple_type" and isinstance(problem["input"], bool | int | float | date):
            message += "; quote it if you mean text"
    elif problem["type"] in ("too_short", "string_too_short"):  # pydantic names the Python type
        message = f"is empty; write {'a text' if isinstance(problem['input'], str) else 'at least one item'}"
    elif problem["type"] != "value_error":
        message = f"{message} (found {found}){_hint(problem['type'], problem['input'], at)}"
    return message


def _meant(key: str, above: KeyPath, known: Sequence[str], model: type[BaseModel]) -> str:
    """Return the end of a sentence with the key that an unknown key probably means; empty if no key is similar."""
    if odd := described_character(key):
        return f", with the character {odd}{did_you_mean(key, known) or '.'}"
    if above and key in model.model_fields:
        return "; it is a key of the declaration itself: begin it in the first column."
    places = [name for name in model.model_fields if key in _fields_at(model, (name,))] if not above else []
    return f"; it is a key of {places[0]}: indent it below." if places else did_you_mean(key, known)


def _shape(kind: str, found: Any, keys: Sequence[str]) -> str:
    """Return the shape that a value should have, with the value that was found as an example if it fits."""
    if isinstance(found, str):
        key, value = next(
            ((key, found.removeprefix(f"{key}:")) for key in keys if found.startswith(f"{key}:")), (keys[0] if keys else "", found)
        )
        if kind == "model_type" and key and _PLAIN.fullmatch(value):
            return f"a mapping, as in {{{key}: {redacted(value)}}}"
        item = found.lstrip("-\u2013 ")
        if kind == "tuple_type" and _PLAIN.fullmatch(item):
            return f"a list, as in [{redacted(item)}]"
    if kind != "tuple_type" and isinstance(found, list) and found and all(isinstance(item, dict) for item in found):
        return f"{_SHAPES[kind]}, without the hyphens or brackets of a list"
    return _SHAPES[kind]


_HINTS: tuple[tuple[tuple[str, ...], type, str], ...] = (
    (("string_type", "bool_type", "float_type", "int_type"), NoneType, "write a value, or remove the key"),
    (("string_type",), list, "write one value, not a list"),
    (("string_type",), dict, "quote a text that contains a colon and a space"),
    (("string_type",), object, "quote it if you mean text"),
    (("bool_type",), object, "write true or false"),
    (("date_type",), object, "write a day as in 2026-01-31"),
)
"""Types of validation errors and of the values found, each with a hint."""


def _hint(kind: str, found: Any, at: KeyPath) -> str:
    """Return a hint for a value that YAML may have read as another type than its writer meant, or an empty string."""
    if hint := next((hint for kinds, types, hint in _HINTS if kind in kinds and isinstance(found, types)), None):
        names_files = isinstance(found, list) and at[:2] == ("source", "path")
        return f"; {hint}" + ("; a pattern such as raw/**/*.jsonl names several files" if names_files else "")
    if not isinstance(found, str) or kind not in ("float_type", "int_type"):
        return ""
    if kind == "float_type" and _PERCENT.fullmatch(found):
        return f"; write {float(found.rstrip('% ')) / 100:g}"
    if _EXPONENT.fullmatch(found):
        return "; YAML reads an exponent only after a point and with a sign: write 1.0e+6, not 1e6"
    if _DECIMAL.fullmatch(found) and not (kind == "int_type" and "." in found):
        number = re.sub(r"^([-+]?)0+(?=[0-9])", r"\1", found)  # YAML reads 08 as text
        return f"; write it as a number, without quotes: {number.replace(',', '' if kind == 'int_type' else '.')}"
    return ""


def shown(value: object) -> str:
    """Return a wrong value for display, without credentials and cut to a readable length."""
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 1_000 else f"a number of {value.bit_length():,} bits"
    text = redacted(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _fields_at(model: type[BaseModel], at: KeyPath) -> list[str]:
    """Return the keys that a model allows at a key path inside it."""
    for part in at:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(str(part))
        inner = model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first model in the type of a field; None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := model_in(argument):
            return found
    return None
