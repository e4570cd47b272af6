"""YAML as it stands in the file: every value as YAML has it, every error at its line."""

import os
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
        ("name: " + "[" * 5000, ": is nested too deeply"),
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
        ("name: NO\ndatasets: [{corpus: x}]\n", ":1: name: should be a valid string (found False); quote it"),
        ("name: x\ndatasets: [{corpus: x, weight: 1e5}]\n", ":2: datasets.0.weight: should be a valid number (found '1e5'); "),
        ("name: x\ndatasets: []\n", ":2: datasets: is empty; write at least one item"),
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
        ("source:\n\tpath: a\n", "indent with spaces instead of tabs"),
        ("path: *.txt\n", "quote a value that begins with *, such as a pattern of file names"),
        ("path: @home\n", "quote a value that begins with @"),
        ('partition_by: "(\\d+)"\n', "use single quotes, in which a backslash is an ordinary character"),
        ("name: x\ndescription: 'it\n", "close the quotes that line 2 opens"),
        ("source: {path: a\n", "close the bracket that line 1 opens"),
        (
            "datasets: [{corpus: x weight: 1}]\n",
            "write a comma before the next key, quote a value that contains a colon and a space, or close the bracket that line 1 opens",
        ),
        ("description: News: all\n", "quote a value that contains a colon and a space, and begin all keys of a mapping in the same column"),
        ("name: x\n  seq_len: 3\n", "quote a value that contains a colon and a space, and begin all keys of a mapping in the same column"),
        ("name: x\nseq_len 3\nseed: 1\n", "write a colon and a space after a key, as in name: my_corpus"),
        ("datasets: - {corpus: x}\n", "begin a list in the line after its key"),
        ("path: [ab]/*.txt\n", "begin all keys of a mapping in the same column, and quote a value that begins with a bracket or a quote"),
        ("name: x\n---\nname: y\n", "write one declaration per file, without lines of three hyphens between them"),
    ],
)
def test_syntax_error_includes_a_remedy(tmp_path: Path, text: str, right: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_yaml(write_text(tmp_path / "x.yaml", text), MixtureConfig)
    assert ": is not YAML: " in str(caught.value)
    assert str(caught.value).endswith(f"; {right}")


def test_nested_aliases_are_refused_before_they_are_expanded(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path = write_text(tmp_path / "x.yaml", "\n".join(lines))
    with pytest.raises(DeclarationError, match=r"x\.yaml:\d: a\d: has more than 100,000 values, each use of an alias counted"):
        load_yaml(path, MixtureConfig)


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


@pytest.mark.parametrize("uri", ["https://user:s3cret@host/x", "S3://key:s3/cret@bucket/x", "hf://u:s3cret@o/n", "ftp://h/x?token=s3cret"])
@pytest.mark.parametrize(
    "text", ["name: x\nsource: {{path: '{uri}'}}\ntokenizer: t@1\n", "name: '{uri}'\n", "source: '{uri}'\n", "name: x\ndtype: '{uri}'\n"]
)
def test_error_does_not_show_credentials(tmp_path: Path, uri: str, text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_yaml(write_text(tmp_path / "x.yaml", text.format(uri=uri)), CorpusConfig)
    assert "cret" not in str(caught.value)
