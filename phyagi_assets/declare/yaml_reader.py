"""Reader of one YAML file into one frozen model. Errors name the file, the key and the line.

PyYAML's safe loader does not keep the lines of values, and keeps the last of two equal keys. Therefore this module walks the tree of nodes
itself: it records the line of every key path, rejects duplicate keys, and expands ``${VAR}`` and ``${VAR:-default}`` before types are
resolved (``weight: ${W:-1.5}`` is a number). Pydantic validates the result.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from phyagi_assets.declare.yaml_syntax import remedy
from phyagi_assets.errors import DeclarationError, did_you_mean, redacted

KeyPath = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

_SHAPES = {"tuple_type": "a list, as in [one, two]"} | dict.fromkeys(("model_type", "dict_type"), "a mapping, as in {key: value}")
"""Descriptions for the pydantic errors whose own messages name Python types or classes of this package."""

_MOST_VALUES = 100_000
"""Largest number of values in a file, with aliases expanded: declarations have tens, but a few lines of nested aliases yield billions."""
_LARGEST = 10_000_000
"""Largest size of a file, in bytes."""
_DEEPEST = 32
"""Largest number of levels of nesting; declarations have four."""
_AMBIGUOUS = re.compile(r"[-+]?0[0-9_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
"""Plain scalars that YAML 1.1 reads as octal or sexagesimal numbers: 010 is 8, and 1:30 is 90."""
_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+")
"""Numbers with an exponent, which YAML 1.1 reads as text unless they have a point and a sign."""
_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})? ?%")
_PLAIN = re.compile(r"[\w./*@~:-]{1,80}")
"""Texts that YAML reads as they are."""
_SHOWN = 100
"""Largest number of characters of a wrong value that an error message shows."""

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration(Generic[Model]):
    """The declaration in one file, with the lines of its keys."""

    config: Model
    path: Path
    lines: dict[KeyPath, int]
    """1-based line of each key path."""
    text: str
    """Content of the file when it was loaded."""

    @property
    def digest(self) -> str:
        """Hash of the declared values, as 16 hexadecimal digits; comments and layout do not change it."""
        return hashlib.sha256(self.config.model_dump_json().encode()).hexdigest()[:16]

    def changed_since_load(self) -> str:
        """Return how the file differs now, or an empty string if it declares the same as when it was loaded."""
        try:
            now = load_yaml(self.path, type(self.config))
        except DeclarationError as problem:
            return str(problem)
        return "" if now.digest == self.digest else f"{self.path} has been edited"

    def error(self, message: str, *at: str | int) -> DeclarationError:
        """Return an error at a key path of this file.

        Parameters
        ----------
        message
            The message, without file, line and key.
        *at
            The key path, such as ``"datasets", 0, "corpus"``. If the file does not have it, the line is that of the nearest key above.
        """
        return _error(self.path, self.lines, at, message)


def load_yaml(path: Path, model: type[Model]) -> Declaration[Model]:
    """Read a YAML file and validate it against a model.

    Raises
    ------
    DeclarationError
        The file cannot be read, is not YAML, or does not fit the model. The error names one problem, with its line, and holds the others.
    """
    reader = _Reader(path)
    data = reader.read()
    try:
        return Declaration(config=model.model_validate(data), path=path, lines=reader.lines, text=reader.text)
    except ValidationError as problems:
        first, *further = reader.explain(problems, model)
        first.further = further
        raise first from None


class _Reader:
    """Walk over the nodes of one file, which records the line of every key path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[KeyPath, int] = {(): 1}
        self._values = 0
        self.text = ""
        self._constructor = yaml.constructor.SafeConstructor()
        self._resolver = yaml.resolver.Resolver()

    def read(self) -> Any:
        try:
            if not self.path.is_file() and self.path.exists():  # reading a named pipe could block for ever
                raise DeclarationError(self.path, "is not a regular file; a declaration is a YAML file")
            if (size := self.path.stat().st_size) > _LARGEST:
                raise DeclarationError(self.path, f"has {size:,} bytes; a declaration has at most {_LARGEST:,}")
            self.text = text = self.path.read_bytes().decode()
        except OSError as problem:
            raise DeclarationError(self.path, f"cannot be read: {problem.strerror}") from None
        except UnicodeDecodeError as problem:
            line = problem.object.count(b"\n", 0, problem.start) + 1
            message = f"is not UTF-8: {problem.reason} at byte {problem.start}; save the file as UTF-8"
            raise DeclarationError(self.path, message, line=line) from None
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if not isinstance(root, yaml.MappingNode):
                raise DeclarationError(self.path, "holds no keys; a declaration is a mapping such as 'name: my_corpus'", line=1)
            return self._value(root, ())
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            found = ", ".join(filter(None, (problem.context, problem.problem)))
            message = f"is not YAML: {found}{remedy(found, problem)}"
            raise DeclarationError(self.path, message, line=mark.line + 1 if mark else None) from None
        except yaml.reader.ReaderError as problem:
            line = text.count("\n", 0, problem.position) + 1
            found = f"character #x{ord(text[problem.position]):04x}: {problem.reason}"
            raise DeclarationError(self.path, f"is not YAML: {found}", line=line) from None
        except RecursionError:
            raise DeclarationError(self.path, "is nested too deeply, or an alias is inside the value that it names") from None

    def _value(self, node: yaml.Node, at: KeyPath) -> Any:
        self.lines.setdefault(at, node.start_mark.line + 1)
        self._values += 1
        if self._values > _MOST_VALUES:
            raise self._error(at[:1], f"has more than {_MOST_VALUES:,} values, each use of an alias counted; write it without aliases")
        if len(at) > _DEEPEST:
            message = f"is nested too deeply, or an alias is inside the value that it names; use at most {_DEEPEST} levels"
            raise DeclarationError(self.path, message, line=node.start_mark.line + 1)
        for kind, tag in ((yaml.MappingNode, "map"), (yaml.SequenceNode, "seq")):
            if isinstance(node, kind) and node.tag != f"tag:yaml.org,2002:{tag}":
                raise self._error(at, f"has the tag {node.tag!r}; leave the tag out")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*at, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(self._expanded(node, at), at)

    def _scalar(self, node: yaml.ScalarNode, at: KeyPath) -> Any:
        kind = node.tag.rpartition(":")[2]
        if node.style is None and kind in ("int", "float") and _AMBIGUOUS.fullmatch(node.value) and node.value.strip("+-0_"):
            read_as = self._constructor.construct_object(node)
            raise self._error(at, f"{_shown(node.value)} is {_shown(read_as)} to YAML; write that, or quote it if you mean text")
        try:
            value = self._constructor.construct_object(node)
        except yaml.MarkedYAMLError as problem:
            raise self._error(at, f"cannot be understood: {problem.problem}") from None
        except (ValueError, LookupError, AttributeError, OverflowError):  # a 13th month, !!bool maybe, !!timestamp soon, 5,000 digits
            raise self._error(at, f"{_shown(node.value)} is not a valid {kind}; quote it if you mean text") from None
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise self._error(at, "has half of a surrogate pair, which is not text; write the character itself, or \\U and its 8 digits")
        return value

    def _mapping(self, node: yaml.MappingNode, at: KeyPath) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise DeclarationError(
                    self.path, "a key is a plain word; a merge key (<<) is not supported: write its keys out", line=line, key=_dotted(at)
                )
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise DeclarationError(
                    self.path, "a key is a plain word, and not a number, a date, or yes or no", line=line, key=_dotted(at)
                )
            key = key_node.value
            if key in mapping:
                first = self.lines[*at, key]
                raise DeclarationError(self.path, f"is given twice; the first time in line {first}", line=line, key=_dotted((*at, key)))
            self.lines[*at, key] = line
            mapping[key] = self._value(value_node, (*at, key))
        return mapping

    def _expanded(self, node: yaml.ScalarNode, at: KeyPath) -> yaml.ScalarNode:
        if "${" not in node.value:
            return node

        def value_of(match: re.Match[str]) -> str:
            value, default = os.environ.get(match["name"]), match["default"]
            if not value and default is not None:
                return str(default)
            if value is None:
                name = match["name"]
                raise self._error(at, f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
            return value

        text = _VARIABLE.sub(value_of, node.value)
        tag = node.tag if node.style else self._resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return yaml.ScalarNode(tag, text, node.start_mark, node.end_mark, node.style)

    def _error(self, at: KeyPath, message: str) -> DeclarationError:
        return _error(self.path, self.lines, at, message)

    def explain(self, problems: ValidationError, model: type[BaseModel]) -> list[DeclarationError]:
        """Return the validation errors in terms of the YAML file, unknown keys first, and one per key, as unions have several."""
        found: dict[KeyPath, DeclarationError] = {}
        for problem in sorted(problems.errors(), key=lambda problem: problem["type"] != "extra_forbidden"):
            at: KeyPath = tuple(part for part in problem["loc"] if not (isinstance(part, str) and part.startswith("[")))  # tags of unions
            if not any(at == other[: len(at)] or other == at[: len(other)] for other in found):
                found[at] = self._error(at, _message(problem, at, model))
        return list(found.values())


def _message(problem: ErrorDetails, at: KeyPath, model: type[BaseModel]) -> str:
    """Return the message about a validation error of a key."""
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, at[:-1])
        message = f"is an unknown key{did_you_mean(str(at[-1]), known) or '.'} The keys are: {', '.join(known)}"
    elif problem["type"] == "missing":
        message = "is missing"
    elif problem["type"] in _SHAPES:
        message = f"should be {_shape(problem['type'], problem['input'], _fields_at(model, at))} (found {_shown(problem['input'])})"
    elif problem["type"] == "too_short":  # pydantic names the Python type
        message = "is empty; write at least one item"
    elif problem["type"] not in ("value_error",):
        message = f"{message} (found {_shown(problem['input'])}){_hint(problem['type'], problem['input'])}"
    return message


def _error(path: Path, lines: dict[KeyPath, int], at: KeyPath, message: str) -> DeclarationError:
    known = at
    while known not in lines:
        known = known[:-1]
    return DeclarationError(path, message, line=lines[known], key=_dotted(at))


def _shape(kind: str, found: Any, keys: Sequence[str]) -> str:
    """Return the shape that a value should have, with the value that was found under the first of the keys if it may be meant for it."""
    if kind == "model_type" and keys and isinstance(found, str) and _PLAIN.fullmatch(found):
        return f"a mapping, as in {{{keys[0]}: {redacted(found)}}}"
    return _SHAPES[kind]


def _hint(kind: str, found: Any) -> str:
    """Return a hint for a value that YAML may have read as another type than its writer meant, or an empty string."""
    if kind == "string_type" and not isinstance(found, list | dict | NoneType):
        return "; quote it if you mean text"
    if kind == "float_type" and isinstance(found, str) and _PERCENT.fullmatch(found):
        return f"; write {float(found.rstrip('% ')) / 100:g}"
    if kind in ("float_type", "int_type") and isinstance(found, str) and _EXPONENT.fullmatch(found):
        return "; YAML reads an exponent only after a point and with a sign: write 1.0e+6, not 1e6"
    return ""


def _shown(value: object) -> str:
    """Return a wrong value for display, without credentials and cut to a readable length."""
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 1_000 else f"a number of {value.bit_length():,} bits"
    text = redacted(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _dotted(at: KeyPath) -> str:
    return ".".join(str(part) for part in at)


def _fields_at(model: type[BaseModel], at: KeyPath) -> list[str]:
    """Return the keys that a model allows at a key path inside it."""
    for part in at:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _model_in(argument):
            return found
    return None
