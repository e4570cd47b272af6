"""Declarations: valid ones are read, and invalid ones are an error with the line and a remedy."""

import re
from datetime import date
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from phyagi_assets.declare.catalog import load_catalog, read_catalog
from phyagi_assets.declare.corpus_schema import CorpusConfig, LimitsConfig, SourceConfig
from phyagi_assets.declare.mixture_schema import MixtureConfig, MixturePart
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError
from tests.support import GPT2, REPOSITORY, declare, declare_corpus, write_text

CORPUS = "name: one\nsource:\n  path: raw/*.txt\ntokenizer: gpt2@main\n"
MIXTURE = "name: mix\ndatasets:\n  - corpus: one\n"


def corpus_error(data: Path, text: str | bytes) -> str:
    path = write_text(data / "corpora" / "x.yaml", text)
    with pytest.raises(DeclarationError) as caught:
        load_catalog(data)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [\n", ":2: is not YAML"),
        ("name: a\n b: c\n", ":2: is not YAML"),
        ("", ":1: holds no keys"),
        ("- a\n", ":1: holds no keys"),
        (b"a: b\nname: \xff\n", ":2: is not UTF-8: invalid start byte at byte 11"),
        (CORPUS + "name: two\n", ":5: name: is given twice; the first time in line 1"),
        (CORPUS + "tokeniser: x\n", ":5: tokeniser: is an unknown key; did you mean 'tokenizer'? The keys are: name, description"),
        (CORPUS + "zzz: x\n", ":5: zzz: is an unknown key. The keys are: "),
        (CORPUS.replace("path", "paht"), ":3: source.paht: is an unknown key; did you mean 'path'? The keys are: path, name"),
        ("source:\n  path: x\ntokenizer: t@1\n", ":1: name: is missing"),
        ("name: one\ntokenizer: t@1\n", ":1: source: is missing"),
        (CORPUS.replace("name: one", "name: 7"), ":1: name: should be a valid string (found 7)"),
        (CORPUS + "append_eos: 'yes'\n", ":5: append_eos: should be a valid boolean"),
        (
            CORPUS.replace("path", "name: no\n  path"),
            ":3: source.name: should be a list, as in [one, two] (found no); quote it if you mean text",
        ),
        (CORPUS.replace("path", "revision: ''\n  path"), ":3: source.revision: is empty; write a text"),
        (CORPUS + "description: ${A:-${B:-c}}\n", ":5: description: the default of ${A} has a variable of its own"),
        (CORPUS + "columns: text\n", ":5: columns: should be a list, as in [text] (found 'text')"),
        ("name: one\ntokenizer: t@1\nsource: raw\n", ":3: source: should be a mapping, as in {path: raw} (found 'raw')"),
        (CORPUS + "splits: 0.05\n", ":5: splits: should be a mapping, as in {validation: 0.05} (found 0.05)"),
        (CORPUS + "splits: {validation: 5%}\n", ":5: splits.validation: should be a valid number (found '5%'); write 0.05"),
        (CORPUS.replace("\n  path: raw/*.txt", " '*.txt'"), ":2: source: should be a mapping, as in {key: value} (found '*.txt')"),
        (CORPUS + "columns: []\n", ":5: columns: "),
        (CORPUS + "columns: [a, text, a]\n", ":5: columns: 'a' is listed 2 times, and each document would repeat its text; list it once"),
        (CORPUS + "columns:\n- text\n- 3\n", ":7: columns.1: should be a valid string (found 3)"),
        (CORPUS + "dtype: uint8\n", ":5: dtype: should be 'auto', 'uint16' or 'int32' (found 'uint8')"),
        (CORPUS + "on_invalid: ignore\n", ":5: on_invalid: should be 'error' or 'skip'"),
        (CORPUS + "splits:\n  test: 0.1\n  validation: 1.5\n", ":7: splits.validation: should be less than 1 (found 1.5)"),
        (CORPUS + "splits: {validation: 0.5, test: 0.5}\n", ":5: splits: the shares add up to 1; less than 1 leaves something to train on"),
        (CORPUS + "splits: {valid: 0.5}\n", ":5: splits.valid: "),
        (CORPUS + "partition_by: '(a)(b)'\n", ":5: partition_by: the regex '(a)(b)' has 2 groups; exactly one names the partition"),
        (CORPUS + "partition_by: by_file\n", ":5: partition_by: the regex 'by_file' has 0 groups"),
        (CORPUS + "partition_by: '('\n", ":5: partition_by: '(' is not none, file, configuration or a valid regex"),
        (
            CORPUS + "partition_by: '(a){99999999999}'\n",
            ":5: partition_by: '(a){99999999999}' is not none, file, configuration or a valid regex",
        ),
        (CORPUS + f"partition_by: '({'a' * 1000})'\n", ":5: partition_by: the regex has 1,002 characters; use at most 1,000"),
        (CORPUS + "refresh: 0 3 30 2 *\n", ":5: refresh: '0 3 30 2 *' matches no date: no such month has day 30"),
        (CORPUS + "refresh: 0 24 * * *\n", ":5: refresh: '0 24 * * *' is not a cron expression: '24' is not a valid hour; use 0–23"),
        (
            CORPUS + "refresh: 0 3 * * MON-FRY\n",
            ":5: refresh: '0 3 * * MON-FRY' is not a cron expression: 'fry' is not a valid day of the week",
        ),
        (CORPUS + "refresh: soon\n", ":5: refresh: 'soon' is not a span of time"),
        (CORPUS + "refresh: 99999999999999999999 days\n", ":5: refresh: '99999999999999999999 days' is longer than ten years"),
        (CORPUS + f"refresh: {'9' * 5000} days\n", ":5: refresh: "),
        (
            CORPUS + "refresh: 0 3 * * *\ntimezone: Europe/Berln\n",
            ":6: timezone: 'Europe/Berln' is not a time zone; did you mean 'Europe/Berlin'?",
        ),
        (CORPUS + "refresh: 0 3 * * *\ntimezone: ../../etc/passwd\n", ":6: timezone: '../../etc/passwd' is not a time zone"),
        (CORPUS + "refresh: 2 days\ntimezone: Europe/Berlin\n", ":6: timezone: a time zone applies to a cron expression"),
        (CORPUS.replace("one", "o" * 101), ":1: name: a name of 101 letters is too long; it has 100 at most"),
        (CORPUS + "splits: {test: 1.0e-300}\n", ":5: splits.test: should be greater than or equal to 0.000001 (found 1e-300)"),
        (CORPUS + "columns: ['']\n", ":5: columns.0: is empty; write a text"),
        (CORPUS.replace("raw/*.txt", '"a\\0b"'), ":3: source.path: 'a\\x00b' contains a NUL character"),
        (CORPUS.replace("gpt2@main", "'gpt2@'"), ":4: tokenizer: 'gpt2@' is not a repository with a revision"),
        (CORPUS.replace("gpt2@main", "s3://key:secret@b/t"), ":4: tokenizer: 's3://***@b/t' is not a tokenizer"),
        (CORPUS.replace("gpt2@main", "x" * 300), ":4: tokenizer: 'xxx"),
        (CORPUS + "owners: [me]\n", ":5: owners: 'me' is neither an e-mail address nor team:NAME"),
        (CORPUS.replace("raw/*.txt", "ftp://host/x"), ":3: source.path: 'ftp://host/x' cannot be read; a source is a local path or glob"),
        (CORPUS.replace("raw/*.txt", "s3://key:secret@bucket/x"), ":3: source.path: holds credentials; take them out"),
        (CORPUS.replace("raw/*.txt", "{tran: raw/*.txt}"), ":3: source.path.tran: "),
        (CORPUS.replace("raw/*.txt", "[raw/*.txt]"), ":3: source.path: should be a valid string (found ['raw/*.txt'])"),
        (CORPUS.replace("raw/*.txt", "{train: 3}"), ":3: source.path.train: should be a valid string"),
        (CORPUS.replace("raw/*.txt", "raw/*.txt\n  revision: main"), ":2: source: revision applies only to datasets on the Hub"),
        (
            CORPUS.replace("raw/*.txt", "hf://org/name/*.jsonl\n  name: en"),
            ":2: source: name chooses a configuration of hf://org/name, and the path hf://org/name/*.jsonl names files",
        ),
        (CORPUS.replace("raw/*.txt", "hf://org/name") + "snapshot: true\n", ":1: snapshot applies to objects in buckets"),
        (
            CORPUS.replace("raw/*.txt", "raw/*.jsonl\n  sample_by: line"),
            ":4: source.sample_by: applies to text files, and these are read as",
        ),
        (CORPUS.replace("raw/*.txt", 'raw/*.csv\n  delimiter: "\\0"'), ":4: source.delimiter: '\\x00' is not a delimiter; use one ASCII"),
        (CORPUS + "separator: \\n\n", ":5: separator: has a backslash before a letter; YAML reads \\n as a line end"),
        (
            CORPUS + "limits:\n  <<: {invalid: 0.1}\n",
            ":6: limits: a key is a plain word; a merge key (<<) is not supported: write its keys out",
        ),
        (CORPUS + "splits: {no: 0.1}\n", ":5: splits: a key is a plain word, and not a number, a date, or yes or no"),
        (CORPUS.replace("gpt2@main", "tokenizers/none"), ":4: tokenizer: there is no folder "),
        *(
            (
                CORPUS.replace("raw/*.txt", f"{declared}\n  delimiter: ';'"),
                f":{line}: source.delimiter: applies to CSV files, and these are read as {read_as}; remove it, or declare format: csv",
            )
            for line, declared, read_as in (
                (4, "raw/*.JSONL.gz", "json"),
                (5, "raw/*.csv\n  format: parquet", "parquet"),
                (4, "{train: raw/a.txt, test: raw/a.json}", "json and text"),
            )
        ),
    ],
)
def test_invalid_corpus_is_an_error_with_its_line(data: Path, text: str | bytes, message: str) -> None:
    assert corpus_error(data, text).startswith(message)


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (
            "gpt2",
            "there is no folder {data}/gpt2; {data} has tokenizers/own; a tokenizer on the Hub is named with a revision, as in gpt2@main",
        ),
        ("tokenizers/own2", "there is no folder {data}/tokenizers/own2; did you mean 'tokenizers/own'?"),
        ("data/tokenizers/own", "there is no folder {data}/data/tokenizers/own; did you mean 'tokenizers/own'?"),
        (
            "tokenizers/own/tokenizer.json",
            "{data}/tokenizers/own/tokenizer.json is a file; name the folder that contains it, tokenizers/own",
        ),
    ],
)
def test_unknown_tokenizer_is_an_error_that_lists_the_tokenizers(data: Path, tokenizer: str, message: str) -> None:
    write_text(data / "tokenizers" / "own" / "tokenizer.json", "{}")
    found = corpus_error(data, CORPUS.replace("gpt2@main", tokenizer))
    assert found.startswith(f":4: tokenizer: {message.format(data=data)}")


@pytest.mark.parametrize(
    "place", ["raw/*.csv", "raw/*.tsv.zst", "raw/*", "raw/x.1", "{train: raw/a.json, test: raw/a.csv}", "raw/*.txt\n  format: csv"]
)
def test_delimiter_may_be_declared_where_files_can_be_csv(data: Path, place: str) -> None:
    path = write_text(data / "one.yaml", CORPUS.replace("raw/*.txt", f"{place}\n  delimiter: ';'"))
    assert load_yaml(path, CorpusConfig).config.source.delimiter == ";"


@pytest.mark.parametrize("day", ["2026-01-31", "'2026-01-31'"])
def test_date_may_be_quoted(data: Path, day: str) -> None:
    path = write_text(data / "one.yaml", f"{CORPUS}messages: m\ntemplate_date: {day}\n")
    assert load_yaml(path, CorpusConfig).config.template_date == date(2026, 1, 31)


@pytest.mark.parametrize(
    ("name", "fit"),
    [("../x", "'x'"), ("a b", "'a_b'"), ("wiki-2", "'wiki_2'"), (".hidden", "'hidden'"), ("a/b", "'a_b'"), ("", ""), ("é", "")],
)
def test_name_unfit_for_a_path_is_refused_with_a_suggestion(data: Path, name: str, fit: str) -> None:
    message = corpus_error(data, CORPUS.replace("name: one", f"name: '{name}'"))
    assert message.startswith(f":1: name: {name!r} is not a valid name")
    assert fit in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MIXTURE.replace("one", "two"), ":3: datasets.0.corpus: 'two' is not declared under"),
        (MIXTURE.replace("one", "one_1"), "corpora; did you mean 'one'? Declared names: one"),
        (MIXTURE + "  - {corpus: one, weight: 2}\n", ":2: datasets: corpus 'one' is listed 2 times; give it one weight"),
        (MIXTURE.replace("mix", "ONE"), ":1: name: 'ONE' is also the name in "),
        (MIXTURE + "    weight: 0\n", ":4: datasets.0.weight: should be greater than or equal to 0.000001 (found 0)"),
        (MIXTURE + "    weight: -.inf\n", ":4: datasets.0.weight: "),
        (
            MIXTURE + "    weight: 1.0e+15\n",
            ":4: datasets.0.weight: should be less than or equal to 1000000 (found 100",
        ),
        (MIXTURE + "    weight: .nan\n", ":4: datasets.0.weight: "),
        (MIXTURE + "    share: 1.0e-300\n", ":4: datasets.0.share: "),
        (MIXTURE + "seq_len: 1000000000000\n", ":4: seq_len: should be less than or equal to 1073741824"),
        (MIXTURE + f"seed: {'9' * 4000}\n", ":4: seed: should be less than 9223372036854775808 (found a number of 13,288 bits)"),
        (MIXTURE + "    wieght: 1\n", ":4: datasets.0.wieght: is an unknown key; did you mean 'weight'? The keys are: corpus, weight"),
        (MIXTURE + "seq_len: 0\n", ":4: seq_len: "),
        ("name: mix\ndatasets: []\n", ":2: datasets: "),
    ],
)
def test_invalid_mixture_is_an_error_with_its_line(data: Path, text: str, message: str) -> None:
    write_text(data / "corpora" / "one.yaml", CORPUS)
    path = write_text(data / "mixtures" / "x.yaml", text)
    found = [str(problem) for problem in read_catalog(data)[1] if problem.path == path]
    assert len(found) == 1
    assert message in found[0]


def test_two_corpora_of_one_name_are_refused(data: Path) -> None:
    for file in ("a", "b"):
        write_text(data / "corpora" / f"{file}.yaml", CORPUS)
    with pytest.raises(DeclarationError, match=r"a.yaml:1: name: 'one' is also the name in .*b.yaml; "):
        load_catalog(data)


def test_environment_variables_are_expanded_before_types_are_checked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHT", "1.5")
    monkeypatch.setenv("NAME", "mix")
    monkeypatch.delenv("LENGTH", raising=False)
    text = 'name: ${NAME}_2\nseq_len: ${LENGTH:-64}\ndescription: "${WEIGHT}"\ndatasets:\n- corpus: one\n  weight: ${WEIGHT}\n'
    path = write_text(data / "mixtures" / "x.yaml", text)
    read = load_yaml(path, MixtureConfig).config
    assert (read.name, read.seq_len, read.description, read.datasets[0].weight) == ("mix_2", 64, "1.5", 1.5)
    quoted = write_text(data / "mixtures" / "quoted.yaml", text.replace("weight: ${WEIGHT}", 'weight: "${WEIGHT}"'))
    with pytest.raises(DeclarationError, match=r":6: datasets.0.weight: should be a valid number \(found '1.5'\)"):
        load_yaml(quoted, MixtureConfig)
    monkeypatch.delenv("NAME")
    with pytest.raises(DeclarationError, match=r":1: name: the environment variable NAME is not set; .*\$\{NAME:-default\}"):
        load_yaml(path, MixtureConfig)


def test_all_mistakes_are_found_and_valid_declarations_are_read(data: Path) -> None:
    declare_corpus(data, "good", "x")
    declare(data, "corpora", name="bad name", source={"path": "x"}, tokenizer=str(GPT2))
    declare_corpus(data, "lost", "x", tokenizer="nowhere")
    write_text(data / "corpora" / "torn.yml", "name: [\n")
    declare(data, "mixtures", name="mix", datasets=[{"corpus": "good"}], sead=1)
    catalog, problems = read_catalog(data)
    assert "good" in catalog.corpora
    assert [problem.key for problem in problems] == ["name", "tokenizer", "", "sead"]


def test_broken_declaration_excludes_only_itself_and_its_mixtures(data: Path) -> None:
    for name in ("good", "torn", "twin"):
        declare_corpus(data, name, "x")
        declare(data, "mixtures", name=f"of_{name}", datasets=[{"corpus": name}])
    write_text(data / "corpora" / "torn.yaml", "name: torn\nsource: [\n")
    declare_corpus(data, "other", "x").path.rename(data / "corpora" / "zz.yaml")
    write_text(data / "corpora" / "zz.yaml", CORPUS.replace("one", "TWIN"))
    write_text(data / "corpora" / "hyphens.yaml", CORPUS.replace("one", "with-hyphens"))
    catalog, problems = read_catalog(data)
    assert list(catalog.corpora) == ["good"]
    assert list(catalog.mixtures) == ["of_good"]
    assert {broken.name for broken in catalog.broken} == {"torn", "twin", "TWIN", "of_torn", "of_twin", "with-hyphens"}
    assert {problem.path.name for problem in problems} == {"torn.yaml", "twin.yaml", "zz.yaml", "hyphens.yaml"}
    with pytest.raises(DeclarationError, match=r"of_torn.yaml.*the declaration of 'torn' is broken: .*torn.yaml:"):
        catalog.select(["of_torn"])
    assert list(catalog.select(["of_good"]).corpora) == ["good"]


def test_select_adds_the_corpora_of_a_mixture_and_lists_names_for_an_unknown_one(data: Path) -> None:
    for name in ("one", "two", "three"):
        declare_corpus(data, name, "x")
    declare(data, "mixtures", name="mix", datasets=[{"corpus": "one"}, {"corpus": "three"}])
    catalog = load_catalog(data)
    assert list(catalog.select(["mix"]).corpora) == ["one", "three"]
    assert list(catalog.select(["two"]).corpora) == ["two"]
    assert catalog.select([]) is catalog
    with pytest.raises(PhyagiAssetsError, match=r"'four' is not declared in .*; declared names: one, three, two, mix"):
        catalog.select(["four"])


def template_keys(text: str) -> set[tuple[str, ...]]:
    """Return the key paths that a template names, in its values and behind its comment signs."""
    named: set[tuple[str, ...]] = set()
    above = ""
    for line in text.splitlines():
        item = re.fullmatch(r"(#?)( *)(?:- )?(?:(\w+): *)?([^#]*)(?:#.*)?", re.sub("^  # ", "#   ", line))
        if item is None or not (item[3] or item[4].startswith("{")):
            continue
        is_nested = len(item[2]) > 1
        above = above if is_nested or not item[3] else item[3]
        at = (above, item[3]) if is_nested and item[3] else (above,)
        value = yaml.safe_load(item[4]) if item[4].strip().startswith("{") else None
        named |= {at, *((*at, key) for key in value or ())}
    return named


def declared_keys(model: type[BaseModel]) -> set[tuple[str, ...]]:
    """Return the key paths of a schema, two levels deep."""
    inner = {"source": SourceConfig, "limits": LimitsConfig, "datasets": MixturePart}
    return {(key,) for key in model.model_fields} | {
        (key, *nested) for key in model.model_fields if key in inner for nested in declared_keys(inner[key])
    }


@pytest.mark.parametrize(("kind", "name", "model"), [("corpora", "example", CorpusConfig), ("mixtures", "example_mix", MixtureConfig)])
def test_template_names_every_key(kind: str, name: str, model: type[BaseModel]) -> None:
    path = REPOSITORY / "phyagi_assets" / "templates" / kind / f"{name}.yaml"
    assert load_yaml(path, model).config.name == name
    assert declared_keys(model) - template_keys(path.read_text()) == set()


def test_template_keys_are_distinguished_from_similar_text() -> None:
    keys = template_keys("source:\n  # name: x    # of a: b\n# limits: {invalid: 0.1}\nseed: 3\n")
    assert keys == {("source",), ("source", "name"), ("limits",), ("limits", "invalid"), ("seed",)}


def test_folder_of_declarations_on_a_disk_that_is_not_mounted_is_an_error(data: Path) -> None:
    (data / "mixtures").symlink_to("/not/mounted")
    with pytest.raises(PhyagiAssetsError, match="mixtures: is a link to /not/mounted, which does not exist; correct it, or remove it"):
        load_catalog(data)
