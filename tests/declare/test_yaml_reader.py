"""YAML as written in the file: every value as YAML defines it, every error with its line."""

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.declare.corpus_schema import CorpusConfig
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import DeclarationError
from tests.support import write_text

LINES = [
    "name: one",
    "source: {path: x}",
    "tokenizer: gpt2@main",
    "# a comment",
    "",
    "description: |\n  three\n  lines",
    "owners:\n- a@b.c",
]


@settings(deadline=None)
@given(lines=st.permutations(LINES), data=st.data())
def test_error_names_the_line_of_its_key(tmp_path_factory: pytest.TempPathFactory, lines: list[str], data: st.DataObject) -> None:
    wrong = data.draw(
        st.sampled_from(["dtype: 3", "surprise: 1", "name: one", "verify: ${UNSET_VARIABLE}", "columns: !odd x", "dtype: !!int x"])
    )
    before = data.draw(st.sampled_from([i for i in range(len(lines) + 1) if wrong not in lines[i:]]))
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    write_text(path, "\n".join([*lines[:before], wrong, *lines[before:], ""]))
    with pytest.raises(DeclarationError) as caught:
        load_yaml(path, CorpusConfig)
    assert caught.value.line == 1 + sum(1 + line.count("\n") for line in lines[:before])
    assert caught.value.key == wrong.split(":", maxsplit=1)[0]


@settings(deadline=None)
@given(text=st.text().filter(lambda text: "${" not in text))
def test_text_round_trips_through_yaml(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    declared = yaml.safe_dump({"name": "mix", "description": text, "datasets": [{"corpus": "one"}]})
    path = write_text(tmp_path_factory.mktemp("data") / "x.yaml", declared)
    assert load_yaml(path, MixtureConfig).config.description == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: &a [*a]\n", ":1: is nested too deeply, or an alias is inside the value that it names"),
        ("name: " + "[" * 1000, ": is nested too deeply"),
        ("name: one\n---\nname: two\n", ":2: is not YAML: expected a single document in the stream, but found another document"),
        ("name: [a\nsource: b\n", ":2: is not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'"),
        ("name: one\ndescription: \x00\n", ":2: is not YAML: character #x0000: special characters are not allowed"),
        ("name: *nothing\n", ":1: is not YAML: found undefined alias 'nothing'"),
        ("name: one\n2001-13-45: x\n", ":2: a key is a plain word"),
        ("name: one\n? [a]\n: b\n", ":2: a key is a plain word"),
        ("name: one\n<<: {seed: 1}\n", ":2: a key is a plain word"),
        ("name: one\ndescription: 2001-13-45\n", ":2: description: '2001-13-45' is not a valid timestamp; quote it if you mean text"),
        ("name: !!bool maybe\n", ":1: name: 'maybe' is not a valid bool"),
        ("name: !!int ''\n", ":1: name: '' is not a valid int"),
        ("name: !!timestamp soon\n", ":1: name: 'soon' is not a valid timestamp"),
        ("name: !!python/object/apply:os.system [x]\n", ":1: name: has the tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("name: x\nseq_len: 010\n", ":2: seq_len: '010' is 8 to YAML; write that, or quote it if you mean text"),
        ("name: x\nseq_len: 1:30\n", ":2: seq_len: '1:30' is 90 to YAML"),
        (f"name: x\nseq_len: 0x{'f' * 5000}\n", ":2: seq_len: "),
        ('name: "\\ud800"\n', ":1: name: has half of a surrogate pair"),
        ("name: NO\ndatasets: [{corpus: x}]\n", ":1: name: should be a valid string (found NO); quote it"),
        ("name: x\ndatasets: [{corpus: x, weight: 1e5}]\n", ":2: datasets.0.weight: should be a valid number (found '1e5'); "),
        ("name: x\ndatasets: []\n", ":2: datasets: is empty; write at least one item"),
        (
            "name: x\nseparator: =\n",
            ":2: separator: cannot be understood: could not determine a constructor for the tag 'tag:yaml.org,2002:value'; quote it",
        ),
        (
            "name: x\nseq_len: 08\ndatasets: [{corpus: x}]\n",
            ":2: seq_len: should be a valid integer (found '08'); write it as a number, without quotes: 8",
        ),
        (
            f"name: x\nstages:\n- {{until: 1{'0' * 19}, datasets: [{{corpus: x}}]}}\n- {{datasets: [{{corpus: x}}]}}\n",
            ":3: stages.0.until: should be less than or equal to 1000000000000000000",
        ),
        ("name: !odd x\n", ":1: name: cannot be understood: could not determine a constructor for the tag '!odd'"),
    ],
)
def test_unsupported_yaml_is_an_error_without_traceback(tmp_path: Path, text: str, message: str) -> None:
    path = write_text(tmp_path / "x.yaml", text)
    with pytest.raises(DeclarationError) as caught:
        load_yaml(path, MixtureConfig)
    assert str(caught.value).removeprefix(str(path)).startswith(message)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("source:\n\tpath: a\n", "write spaces instead of tabs"),
        ("path: *.txt\n", "quote a value that begins with *, such as a pattern of file names"),
        ("path: @home\n", "quote a value that begins with @"),
        ('partition_by: "(\\d+)"\n', "use single quotes, in which a backslash is an ordinary character"),
        ("name: x\ndescription: 'it\n", "close the quotes that line 2 opens"),
        ("source: {path: a\n", "close the bracket that line 1 opens"),
        ("splits: {test: ${SHARE}}\n", "close the bracket that line 1 opens, or begin a key with a ${VARIABLE} in a line of its own"),
        (
            "datasets: [{corpus: x weight: 1}]\n",
            "write a comma before the next key, quote a value that contains a colon and a space, or close the bracket that line 1 opens",
        ),
        ("description: News: all\n", "quote a value that contains a colon and a space, and begin all keys of a mapping in the same column"),
        ("name: x\n  seq_len: 3\n", "quote a value that contains a colon and a space, and begin all keys of a mapping in the same column"),
        ("name: x\nseq_len 3\nseed: 1\n", "write a colon and a space after a key, as in name: my_corpus"),
        ("datasets: - {corpus: x}\n", "begin a list in the line after its key"),
        ("path: [ab]/*.txt\n", "begin all keys of a mapping in the same column, and quote a value that begins with a bracket or a quote"),
        ("name:x\nseq_len: 3\n", "write a colon and a space after the key in line 1, as in name: value"),
        ("name: x\nseq_len:3\n", "write a colon and a space after the key in line 2, as in seq_len: value"),
        ("# a mixture\nname = x\n# of one corpus\nseq_len: 3\n", "write a colon and a space after the key in line 2, as in name: value"),
        ("name\uff1ax\nseq_len: 3\n", "write a colon and a space after the key in line 1, as in name: value"),
        ("name:\xa0x\nseq_len: 3\n", "write a colon and a space after the key in line 1, as in name: value"),
        (
            "name: x\n\u2013 corpus: y\nseq_len 3\n",
            "line 2 begins with a character that only looks like a space or a sign; type its beginning again",
        ),
        ("name: x\n<<<<<<< HEAD\nseed: 1\n=======\nseed: 2\n>>>>>>> b\n", "resolve the merge conflict at line 2"),
        (" name: x\nseq_len: 3\n", "begin all keys of the declaration in the first column, as in name: my_corpus"),
        ("name: [\n", "close all brackets, and quote a value that contains one"),
        ("name: > x\n", "begin a text after | or > in the next line, or quote a value that begins with one of them"),
        ("%x: 1\n", "quote a value that begins with %, or remove the line"),
        ("name: x\ndescription: \a\n", "remove the character"),
        ("name: x\n---\nname: y\n", "write one declaration per file, without lines of three hyphens between them"),
    ],
)
def test_syntax_error_includes_a_remedy(tmp_path: Path, text: str, right: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_yaml(write_text(tmp_path / "x.yaml", text), MixtureConfig)
    assert ": is not YAML: " in str(caught.value)
    assert str(caught.value).endswith(f"; {right}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: \u201cx\u201d",
            ":1: name: \u201cx\u201d has typographic quotes, which are part of the text to YAML; write straight quotes, or add them",
        ),
        (
            "name: x\u200b",
            ":1: name: 'x\\u200b' begins or ends with the invisible character U+200B (ZERO WIDTH SPACE); remove it, or quote the value",
        ),
        ("n\u0430me: x", ":1: n\u0430me: is an unknown key, with the character U+0430 (CYRILLIC SMALL LETTER A); did you mean 'name'?"),
        ("name: \u0441orpus", ":1: name: '\u0441orpus' is not a valid name; .*; it contains U+0441 (CYRILLIC SMALL LETTER ES)"),
        ("name: x\nsource:\npath: a", ":3: path: is an unknown key; it is a key of source: indent it below."),
        (
            "source:\n  path: a\n  tokenizer: b",
            ":3: source.tokenizer: is an unknown key; it is a key of the declaration itself: begin it in the",
        ),
        ("name: ~", ":1: name: should be a valid string (found ~); write a value, or remove the key"),
        ("name: 2024-01-01", ":1: name: should be a valid string (found 2024-01-01); quote it"),
        ("name: x\nsource: path:a.txt", ":2: source: should be a mapping, as in {path: a.txt} (found 'path:a.txt')"),
        ("name: x\ncolumns:\n  -body", ":2: columns: should be a list, as in [body] (found '-body')"),
        (
            "name: x\nsplits: [validation: 0.1]",
            ":2: splits: should be a mapping, as in {validation: 0.05}, without the hyphens or brackets of a list",
        ),
        (
            "name: x\nsplits: {test: 0,05}",
            ":2: splits: a key is a plain word, .* (found 05); write numbers with a decimal point, as in 0.05",
        ),
        (
            "name: x\nsplits:\n  test: 0,05",
            ":3: splits.test: should be a valid number (found '0,05'); write it as a number, without quotes: 0.05",
        ),
        ("name: x\nappend_eos: 'yes'", ":2: append_eos: should be a valid boolean (found 'yes'); write true or false"),
        ("name: x\ntemplate_date: 31.12.2026", ":2: template_date: should be a valid date (found '31.12.2026'); write a day as in"),
        ("name: x\nowners: [team: a]", ":2: owners.0: should be a valid string (found {'team': 'a'}); quote a text that contains a colon"),
        (
            "name: x\ndescription: {{ x }}",
            ":2: description: a key is a plain word, and not a list or a mapping; quote a value that begins with",
        ),
        (
            "name: x\nsource: {path: [a, b]}",
            ":2: source.path: should be a valid string (found ['a', 'b']); write one value, not a list; a pattern",
        ),
        ("name: [x]", ":1: name: should be a valid string (found ['x']); write one value, not a list"),
    ],
)
def test_typo_is_quoted_as_written(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_yaml(write_text(tmp_path / "x.yaml", text), CorpusConfig)
    found = [str(problem) for problem in (caught.value, *caught.value.further)]
    expected = re.escape(message).replace(r"\.\*", ".*")
    assert any(re.match(re.escape(str(tmp_path / "x.yaml")) + expected, problem) for problem in found), found


def test_quotes_and_odd_characters_of_a_description_are_kept(tmp_path: Path) -> None:
    text = "name: x\ndescription: \u201cPlays\u201d\nseparator: '\u201c \u201d'\nsource: {path: a}\ntokenizer: b@main\n"
    read = load_yaml(write_text(tmp_path / "x.yaml", text), CorpusConfig).config
    assert (read.description, read.separator) == ("\u201cPlays\u201d", "\u201c \u201d")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_declaration_in_utf_16_is_named(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(DeclarationError, match=r"x\.yaml:1: is UTF-16 or UTF-32 text; save the file as UTF-8"):
        load_yaml(write_text(tmp_path / "x.yaml", "name: x\n".encode(encoding)), MixtureConfig)


def test_nested_aliases_are_refused_before_they_are_expanded(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path = write_text(tmp_path / "x.yaml", "\n".join(lines))
    with pytest.raises(DeclarationError, match=r"x\.yaml:\d: a\d: has more than 100,000 values, each use of an alias counted"):
        load_yaml(path, MixtureConfig)


@pytest.mark.parametrize(("written", "hint"), [("2,048", "write it as a number, without quotes: 2048"), ("'2.048'", "(found '2.048')")])
def test_hint_for_an_integer_is_an_integer(tmp_path: Path, written: str, hint: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(hint) + "$"):
        load_yaml(write_text(tmp_path / "x.yaml", f"name: x\ndatasets: [{{corpus: one}}]\nseq_len: {written}\n"), MixtureConfig)


def test_long_wrong_value_is_cut_in_the_message(tmp_path: Path) -> None:
    path = write_text(tmp_path / "x.yaml", f"name: mix\nseq_len: {'x' * 10_000}\ndatasets: [{{corpus: one}}]\n")
    with pytest.raises(DeclarationError) as caught:
        load_yaml(path, MixtureConfig)
    assert len(str(caught.value)) < len(str(path)) + 300


def test_every_wrong_key_is_named_once_and_unknown_keys_first(tmp_path: Path) -> None:
    path = write_text(tmp_path / "x.yaml", "name: one\nsource: {path: {train: 3, dev: [1]}}\nsplits: {test: 5%}\ntokenizr: x\n")
    with pytest.raises(DeclarationError) as caught:
        load_yaml(path, CorpusConfig)
    assert [(error.key, error.line) for error in (caught.value, *caught.value.further)] == [
        ("tokenizr", 4), ("source.path.train", 2), ("source.path.dev", 2), ("tokenizer", 1), ("splits.test", 3)
    ]  # fmt: skip


def test_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(DeclarationError, match=r"x\.yaml: is not a regular file"):
        load_yaml(tmp_path / "x.yaml", MixtureConfig)


def test_unreadable_declaration_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"gone.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "gone.yaml", MixtureConfig)


@pytest.mark.parametrize(("prefix", "newline"), [("\ufeff", "\n"), ("", "\r\n"), ("%YAML 1.1\n---\n", "\n")])
def test_byte_order_mark_and_line_ends_are_ignored(tmp_path: Path, prefix: str, newline: str) -> None:
    text = prefix + newline.join(["name: mix", "datasets:", "- corpus: one", "- corpus: two", "  weight: 2", ""])
    read = load_yaml(write_text(tmp_path / "x.yaml", text), MixtureConfig)
    assert [(part.corpus, part.weight) for part in read.config.datasets] == [("one", 1.0), ("two", 2.0)]
    assert read.lines["datasets", 1, "weight"] == 5 + prefix.count("\n")


def test_variable_may_have_an_empty_default_and_adjoin_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "1")
    monkeypatch.delenv("NONE", raising=False)
    text = "name: mix\nseq_len: ${ONE}${NONE:-}2\ndescription: 'a${NONE:-}${ONE} $ONE {ONE}'\ndatasets:\n- corpus: one\n"
    read = load_yaml(write_text(tmp_path / "x.yaml", text), MixtureConfig).config
    assert (read.seq_len, read.description) == (12, "a1 $ONE {ONE}")


def test_empty_variable_is_not_a_missing_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARE", "")
    text = "name: mix\ndatasets:\n- corpus: one\n  share: VALUE\n- corpus: two\n"
    with pytest.raises(DeclarationError, match=r":4: datasets\.0\.share: the environment variable SHARE is empty; set it, or write"):
        load_yaml(write_text(tmp_path / "x.yaml", text.replace("VALUE", "${SHARE}")), MixtureConfig)
    assert load_yaml(write_text(tmp_path / "y.yaml", text.replace("VALUE", "${SHARE:-}")), MixtureConfig).config.datasets[0].share is None


@pytest.mark.parametrize("uri", ["https://user:s3cret@host/x", "S3://key:s3/cret@bucket/x", "hf://u:s3cret@o/n", "ftp://h/x?token=s3cret"])
@pytest.mark.parametrize(
    "text", ["name: x\nsource: {{path: '{uri}'}}\ntokenizer: t@1\n", "name: '{uri}'\n", "source: '{uri}'\n", "name: x\ndtype: '{uri}'\n"]
)
def test_error_does_not_show_credentials(tmp_path: Path, uri: str, text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_yaml(write_text(tmp_path / "x.yaml", text.format(uri=uri)), CorpusConfig)
    assert "cret" not in str(caught.value)
