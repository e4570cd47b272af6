"""Remedies for invalid YAML. The parser reports what it found, but not how to correct it."""

import re

import yaml

_REMEDIES = (
    (r"character '\\t' that cannot start", "write spaces instead of tabs"),
    (r"character '(?P<first>.)' that cannot start", "quote a value that begins with {first}"),
    (r"scanning an alias|undefined alias", "quote a value that begins with *, such as a pattern of file names"),
    (r"scanning an anchor", "quote a value that begins with &"),
    (r"unknown escape character|hexadecimal", "use single quotes, in which a backslash is an ordinary character"),
    (r"scanning a quoted scalar", "close the quotes that line {line} opens"),
    (
        r"parsing a flow .* but got ':'",
        "write a comma before the next key, quote a value that contains a colon and a space, or close the bracket that line {line} opens",
    ),
    (
        r"parsing a flow .* but got '\{'",
        "close the bracket that line {line} opens, or begin a key with a ${{VARIABLE}} in a line of its own",
    ),
    (r"parsing a flow (mapping|sequence)", "close the bracket that line {line} opens"),
    (r"parsing a flow node", "close all brackets, and quote a value that contains one"),
    (r"scanning a block scalar", "begin a text after | or > in the next line, or quote a value that begins with one of them"),
    (r"scanning a directive", "quote a value that begins with %, or remove the line"),
    (r"expected '<document start>'", "begin all keys of the declaration in the first column, as in name: my_corpus"),
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


_KEY = r"\s*(?:- )?(?P<key>[A-Za-z_]+)"
_SLIPS = (
    (r"<{7} |={7}$|>{7} |\|{7} ", "resolve the merge conflict at line {line}"),
    (r"[ \t]*[^\x00-\x7f\w]", "line {line} begins with a character that only looks like a space or a sign; type its beginning again"),
    (_KEY + r"\s*=", "write a colon and a space after the key in line {line}, as in {key}: value"),
    (_KEY + r"(?::(?![ \t]|//|\\|$)|\s*[^\x00-\x7f\w])", "write a colon and a space after the key in line {line}, as in {key}: value"),
)
"""Patterns of lines with frequent slips, each with its remedy. The parser reports many of them only at the next line."""


def remedy(found: str, problem: yaml.MarkedYAMLError, text: str) -> str:
    """Return the remedy to append to the message of an error of the parser, given the content of the file; empty if it is unknown."""
    line = problem.context_mark.line + 1 if problem.context_mark else 0
    if re.search(_LINE_MESSAGES, found) and problem.problem_mark:
        lines = text.splitlines()
        at = min(problem.problem_mark.line, len(lines) - 1)
        before = [i for i in range(at) if lines[i].strip() and not lines[i].lstrip().startswith("#")][-1:]
        for i in (*before, at):
            for pattern, right in _SLIPS:
                if match := re.match(pattern, lines[i]):
                    return "; " + right.format(line=i + 1, **match.groupdict())
    for pattern, right in _REMEDIES:
        if match := re.search(pattern, found):
            return "; " + right.format(line=line, **match.groupdict())
    return ""


_LINE_MESSAGES = r"mapping values are not allowed|could not find expected ':'|expected <block end>|expected '<document start>'"
"""Messages that a slip in the line before, or in the same line, may cause."""
