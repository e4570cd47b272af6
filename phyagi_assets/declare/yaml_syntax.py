"""Remedies for invalid YAML. The parser says what it found, but not what would be right."""

import re

import yaml

_REMEDIES = (
    (r"character '\\t' that cannot start", "indent with spaces instead of tabs"),
    (r"character '(?P<first>.)' that cannot start", "quote a value that begins with {first}"),
    (r"scanning an alias|undefined alias", "quote a value that begins with *, such as a pattern of file names"),
    (r"scanning an anchor", "quote a value that begins with &"),
    (r"unknown escape character|hexadecimal", "use single quotes, in which a backslash is an ordinary character"),
    (r"scanning a quoted scalar", "close the quotes that line {line} opens"),
    (
        r"parsing a flow .* but got ':'",
        "write a comma before the next key, quote a value that contains a colon and a space, or close the bracket that line {line} opens",
    ),
    (r"parsing a flow (mapping|sequence)", "close the bracket that line {line} opens"),
    (
        r"mapping values are not allowed",
        "quote a value that contains a colon and a space, and begin all keys of a mapping in the same column",
    ),
    (r"could not find expected ':'", "write a colon and a space after a key, as in name: my_corpus"),
    (r"sequence entries are not allowed", "begin a list in the line after its key"),
    (r"expected <block end>", "begin all keys of a mapping in the same column, and quote a value that begins with a bracket or a quote"),
    (r"expected a single document", "write one declaration per file, without lines of three hyphens between them"),
)
"""Patterns of the parser's messages, each with its remedy."""


def remedy(found: str, problem: yaml.MarkedYAMLError) -> str:
    """Return the remedy to append to the parser's message; empty if it is unknown.

    Parameters
    ----------
    found
        The parser's message.
    problem
        The parser's error, which contains the line where the invalid construct begins.
    """
    line = problem.context_mark.line + 1 if problem.context_mark else 0
    for pattern, right in _REMEDIES:
        if match := re.search(pattern, found):
            return "; " + right.format(line=line, **match.groupdict())
    return ""
