"""Invalid options, and control characters in untrusted text."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phyagi_assets.cli import main
from phyagi_assets.declare.catalog import Catalog, load_catalog
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from tests.support import build, declare, declare_corpus, write_jsonl, write_text

HOSTILE = "\x1b]0;owned\x07\x1b[2Jcleared \u202etxet \x9b31m"


def run(words: str, data: Path) -> Result:
    return CliRunner().invoke(main, [*shlex.split(words), "--data", str(data)])


@pytest.fixture
def built(workspace: Workspace) -> Path:
    """A data folder whose corpus and mixture are built, of documents with escape sequences."""
    write_jsonl(workspace.data / "raw" / "a.jsonl", [f"{HOSTILE} {i}" for i in range(20)])
    corpus = declare_corpus(workspace.data, "first", "raw/*.jsonl", description=HOSTILE)
    build(corpus, workspace)
    declare(workspace.data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "first"}])
    catalog: Catalog = load_catalog(workspace.data)
    build_mixture(catalog.mixtures["mix"], catalog.corpora, {"first": ["all"]}, workspace)
    return workspace.data


def test_option_outside_its_range_exits_2(built: Path) -> None:
    for words, message in {
        "explain mix 1000000000000000000000000000000": "is not in the range",
        "explain mix --step 1000000000000000000 --batch-size 16": "is beyond position 1,000,000,000,000,000,000",
        "explain mix --step 1 --batch-size 0": "is not in the range",
        "explain mix 1.5": "'1.5' is not a valid whole number.",
        "explain mix 1 --batch-size 2": "--batch-size and --world-size cannot be used with a POSITION",
        "explain mix --step 1 --batch-size 2 --count 1": "--count cannot be used with --step",
        "plan mix --tokens 0.4": "--tokens: is 0.4; a run reads at least one token",
        "plan mix --tokens 1e400": "'1e400' is too large",
        "plan mix --tokens=2,5B": "--tokens: '2,5B' is not a number",
        "ui --port 99999": "is not in the range 1<=x<=65535",
        "materialize --jobs 1000000000": "is not in the range 1<=x<=1024",
        "materialize mix --at 0": "is not in the range",
        "materialize --jobs two": "'two' is not a valid whole number.",
        "explain mix ten": "'ten' is not a valid whole number.",
        "clean --grace day": "'day' is not a valid number of hours.",
        "clean --grace nan": "nan is not a number of hours",
        "remove first --match x --until 1000000000000000000000": "is not in the range",
        "inspect first --store hdfs://host/x": "hdfs: addresses are not supported",
        "inspect first --store=": "the store has an empty name, perhaps from an unset variable; name a folder",
    }.items():
        done = run(words, built)
        said = " ".join(done.output.replace("│", " ").split())
        assert (done.exit_code, message in said) == (2, True), (words, said, done.exception)


def test_cluster_that_the_environment_names_is_used_unless_another_place_is_chosen(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head")
    done = run("materialize", built)
    assert (done.exit_code, "$RAY_ADDRESS: 'head' is not the address of a Ray cluster" in done.output) == (2, True), done.output
    assert run("materialize --executor local", built).exit_code == 0


def test_control_characters_in_untrusted_text_are_shown_as_symbols(built: Path) -> None:
    write_text(built / "corpora" / "bad.yaml", 'name: bad\n"k\\e[2Jcleared": x\n')
    shown = ("inspect first/numpy_cache/all", "explain mix 0", "remove first --match cleared --dry-run", "check")
    for words in ("inspect first", "inspect mix", *shown):
        if words.startswith("remove"):
            (built / "corpora" / "bad.yaml").rename(built / "bad.yaml")
        done = run(words, built)
        assert not set(done.output) & {"\x1b", "\x07", "\x9b", "\u202e"}, words
        assert "␛" in done.output or words not in shown, (words, done.output)
        if words.startswith("remove"):
            (built / "bad.yaml").rename(built / "corpora" / "bad.yaml")


@pytest.mark.parametrize("target", ["data/store", "data/store/inner", "data", "link", "link/inner"])
@pytest.mark.parametrize("layout", ["store", "reference"])
def test_copy_into_its_own_source_is_refused(tmp_path: Path, target: str, layout: str) -> None:
    source = tmp_path / "data" / "store"
    source.mkdir(parents=True)
    (tmp_path / "link").symlink_to(source)
    done = CliRunner().invoke(main, ["copy", "--layout", layout, str(source), str(tmp_path / target)])
    assert (done.exit_code, "are the same place, or one is inside the other" in done.output) == (2, True), done.output
    assert list(source.iterdir()) == []


def test_copy_from_or_to_a_disk_that_is_not_mounted_or_a_name_that_is_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "big").symlink_to(tmp_path / "disk")
    for places in (["big/store", "store"], ["store", "big/store"]):
        done = CliRunner().invoke(main, ["copy", *(str(tmp_path / place) for place in places)])
        assert (done.exit_code, "which leads nowhere; mount its disk, or name another store" in done.output) == (2, True), done.output
    done = CliRunner().invoke(main, ["copy", str(tmp_path / "store"), ""])
    assert (done.exit_code, "the store has an empty name" in done.output) == (2, True), done.output


def test_init_quotes_the_folder_in_the_next_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["init", str(tmp_path / "my data")])
    assert f"phyagi-assets materialize --data '{tmp_path / 'my data'}'" in done.output
