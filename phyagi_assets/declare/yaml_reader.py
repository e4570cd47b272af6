"""Reader of one YAML file into one frozen model. Errors name the file, the key and the line.

PyYAML's safe loader does not keep the lines of values, and keeps the last of two equal keys. Therefore this module walks the tree of nodes
itself: it records the line of every key path, rejects duplicate keys, and expands ``${VAR}`` and ``${VAR:-default}`` before types are
resolved (``weight: ${W:-1.5}`` is a number). Pydantic validates the result.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from phyagi_assets.declare.odd_characters import misread_text
from phyagi_assets.declare.validation_messages import KeyPath, shown, validation_message
from phyagi_assets.declare.yaml_syntax import remedy
from phyagi_assets.errors import DeclarationError

Model = TypeVar("Model", bound=BaseModel)

_MOST_VALUES = 100_000
"""Largest number of values in a file, with aliases expanded: declarations have tens, but a few lines of nested aliases yield billions."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""Byte order marks of UTF-16; that of little-endian UTF-32 begins with one of them."""
_LARGEST = 10_000_000
"""Largest size of a file, in bytes."""
_DEEPEST = 32
"""Largest number of levels of nesting; declarations have four."""
_AMBIGUOUS = re.compile(r"[-+]?0[0-9_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
"""Plain scalars that YAML 1.1 reads as octal or sexagesimal numbers: 010 is 8, and 1:30 is 90."""
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
        """Return how the file has changed, or an empty string if it still declares the same."""
        try:
            now = load_yaml(self.path, type(self.config))
        except DeclarationError as problem:
            return str(problem)
        return "" if now.digest == self.digest else f"{self.path} has been edited"

    def error(self, message: str, *at: str | int) -> DeclarationError:
        """Return an error at a key path of this file.

        Parameters
        ----------
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
    """Reader of the nodes of one file, which records the line of every key path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[KeyPath, int] = {(): 1}
        self._written: dict[KeyPath, str] = {}
        self._values = 0
        self.text = ""
        self._constructor = yaml.constructor.SafeConstructor()
        self._resolver = yaml.resolver.Resolver()

    def read(self) -> Any:
        """Return the values of the file, and set `text`, its text."""
        self.text = self._decoded()
        return self._parsed()

    def _decoded(self) -> str:
        try:
            if not self.path.is_file() and self.path.exists():  # reading a named pipe could block for ever
                raise DeclarationError(self.path, "is not a regular file; a declaration is a YAML file")
            if (size := self.path.stat().st_size) > _LARGEST:
                raise DeclarationError(self.path, f"has {size:,} bytes; a declaration has at most {_LARGEST:,}")
            content = self.path.read_bytes()
            if content.startswith(_UTF_16) or b"\0" in content[:4]:
                raise DeclarationError(self.path, "is UTF-16 or UTF-32 text; save the file as UTF-8", line=1)
            return content.decode()
        except OSError as problem:
            raise DeclarationError(self.path, f"cannot be read: {problem.strerror}") from None
        except UnicodeDecodeError as problem:
            line = problem.object.count(b"\n", 0, problem.start) + 1
            message = f"is not UTF-8: {problem.reason} at byte {problem.start}; save the file as UTF-8"
            raise DeclarationError(self.path, message, line=line) from None

    def _parsed(self) -> Any:
        try:
            root = yaml.compose(self.text, Loader=yaml.SafeLoader)
            if not isinstance(root, yaml.MappingNode):
                raise DeclarationError(self.path, "holds no keys; a declaration is a mapping such as 'name: my_corpus'", line=1)
            return self._value(root, ())
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            found = ", ".join(filter(None, (problem.context, problem.problem)))
            message = f"is not YAML: {found}{remedy(found, problem, self.text)}"
            raise DeclarationError(self.path, message, line=mark.line + 1 if mark else None) from None
        except yaml.reader.ReaderError as problem:
            line = self.text.count("\n", 0, problem.position) + 1
            found = f"character #x{ord(self.text[problem.position]):04x}: {problem.reason}"
            raise DeclarationError(self.path, f"is not YAML: {found}; remove the character", line=line) from None
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
        self._written[at] = node.value
        if node.style is None and kind == "str" and at[-1:] != ("description",) and (misread := misread_text(node.value)):
            raise self._error(at, misread)
        if node.style is None and kind in ("int", "float") and _AMBIGUOUS.fullmatch(node.value) and node.value.strip("+-0_"):
            read_as = self._constructor.construct_object(node)
            raise self._error(at, f"{shown(node.value)} is {shown(read_as)} to YAML; write that, or quote it if you mean text")
        try:
            value = self._constructor.construct_object(node)
        except yaml.MarkedYAMLError as problem:
            remedy = "quote it" if node.value in ("=", "<<") else "leave the tag out, or quote a value that begins with !"
            raise self._error(at, f"cannot be understood: {problem.problem}; {remedy}") from None
        except (ValueError, LookupError, AttributeError, OverflowError):  # a 13th month, !!bool maybe, !!timestamp soon, 5,000 digits
            raise self._error(at, f"{shown(node.value)} is not a valid {kind}; quote it if you mean text") from None
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
                raise DeclarationError(self.path, _not_a_key(key_node, value_node), line=line, key=_dotted(at))
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
            if "${" in (default or ""):
                raise self._error(
                    at, f"the default of ${{{match['name']}}} has a variable of its own, which is not supported; write it without"
                )
            if not value and default is not None:
                return str(default)
            if value is None or (not value and node.style is None and match[0] == node.value):  # YAML would read null, the default
                name, state = match["name"], "is not set" if value is None else "is empty"
                raise self._error(at, f"the environment variable {name} {state}; set it, or write ${{{name}:-default}}")
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
                found[at] = self._error(at, validation_message(problem, at, model, self._written.get(at)))
        return list(found.values())


def _not_a_key(key: yaml.Node, value: yaml.Node) -> str:
    """Return the message about a key that is not text."""
    if not isinstance(key, yaml.ScalarNode):
        return "a key is a plain word, and not a list or a mapping; quote a value that begins with a bracket, a brace or a question mark"
    message = "a key is a plain word, and not a number, a date, or yes or no"
    if key.value.isdigit() and isinstance(value, yaml.ScalarNode) and not value.value:
        return f"{message} (found {key.value}); write numbers with a decimal point, as in 0.05"
    return f"{message} (found {key.value or 'nothing'})"


def _error(path: Path, lines: dict[KeyPath, int], at: KeyPath, message: str) -> DeclarationError:
    known = at
    while known not in lines:
        known = known[:-1]
    return DeclarationError(path, message, line=lines[known], key=_dotted(at))


def _dotted(at: KeyPath) -> str:
    return ".".join(str(part) for part in at)
