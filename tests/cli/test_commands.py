"""The command, as a user types it."""

import json
import os
import re
import select
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import CliRunner

from phyagi_assets.cli import main
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN
from tests.command import command
from tests.robustness.command import Command
from tests.support import copy_data, copy_store, declare, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import give_report

BYTES = "tokenizers/bytes"


def published(data: Path) -> dict[str, bytes]:
    """Return the content of all published artifacts that contain source text."""
    store = LocalStore(data / "store")
    folders = {address: store.pointer(address) for address in store.list() if "/raw_dataset/" not in address}
    return {f"{address}/{path.name}": path.read_bytes() for address, at in folders.items() for path in at.iterdir() if path.is_file()}


def run(*words: str | Path) -> CompletedProcess[str]:
    """Run a command that builds nothing, in this process, which is much faster."""
    done = CliRunner().invoke(main, [*map(str, words)], env={"COLUMNS": "200"})
    return CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def declared_once(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> Path:
    """Two corpora and a mixture of them, whose tokenizer is prepared."""
    folder = tmp_path_factory.mktemp("declared") / "data"
    write_jsonl(folder / "raw" / "a.jsonl", [f"The first corpus, document {i}." for i in range(20)])
    write_text(folder / "raw" / "b.txt", "The second corpus is one document. " * 30)
    save_byte_tokenizer(folder / BYTES)  # each command loads its tokenizer, GPT-2's in a second
    first = declare_corpus(folder, "first", "raw/a.jsonl", tokenizer=BYTES)
    declare_corpus(folder, "second", "raw/b.txt", tokenizer=BYTES)
    store = LocalStore(copy_store(prepared_store, folder / "store"))
    give_report(first, GIGATOKEN.name, folder, store, LocalStore(prepared_store))
    declare(folder, "mixtures", name="mix", seq_len=32, datasets=[{"corpus": "first", "weight": 1.5}, {"corpus": "second", "weight": 0.5}])
    return folder


@pytest.fixture(scope="module")
def built_once(declared_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder after the command has built everything."""
    folder = copy_data(declared_once, tmp_path_factory.mktemp("built") / "data")
    done = command("materialize", "--data", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def data(declared_once: Path, data: Path) -> Path:
    """A copy of the folder in which nothing is built."""
    return copy_data(declared_once, data)


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Path:
    """A copy of the folder in which everything is built."""
    return copy_data(built_once, tmp_path / "data")


def test_materialize_builds_once_and_shows_the_mixtures(data: Path) -> None:
    first = command("materialize", "--data", data)
    assert first.returncode == 0, first.stderr
    assert "mix" in first.stdout
    assert "first ×1.5" in first.stdout
    assert "second ×0.5" in first.stdout
    assert "3 built, 0 up to date, 0 failed" in first.stdout
    again = command("materialize", "--data", data)
    assert "0 built, 3 up to date, 0 failed" in again.stdout
    assert again.stderr == ""


def test_concurrent_commands_build_everything_once(data: Path, tmp_path: Path) -> None:
    running = [Command("materialize", "--data", data, log=tmp_path / f"{number}.log") for number in range(4)]
    ended = [each.ended() for each in running]
    assert [each.code for each in ended] == [0, 0, 0, 0], ended
    counts = [re.search(r"(\d+) built, (\d+) up to date, 0 failed", each.said) for each in ended]
    assert all(count and int(count[1]) + int(count[2]) == 3 for count in counts), ended
    assert sum(int(count[1]) for count in counts if count) == 3  # two partitions and the mixture
    assert "0 problems" in run("check", "--data", data).stdout


def test_invalid_row_exits_1_with_its_location_and_leaves_the_store_unchanged(built: Path) -> None:
    before = published(built)
    write_jsonl(built / "raw" / "a.jsonl", ["fine", None])
    done = command("materialize", "--data", built)
    assert done.returncode == 1
    assert f"{built / 'raw' / 'a.jsonl'}: row 2: 'text' is null" in done.stderr
    assert "mix: not built, because of first/all" in done.stderr
    assert published(built) == before


MISSPELT = "name: second\nsource:\n  path: raw/b.txt\n  fromat: text\ntokenizer: x\n"


@pytest.mark.parametrize(
    ("words", "declaration", "message"),
    [
        *(
            (words, MISSPELT, "4: source.fromat: is an unknown key; did you mean 'format'?")
            for words in ("materialize", "check", "materialize mix")
        ),
        ("materialize", "name: second\nsource: {path: [\n", "3: is not YAML"),
    ],
)
def test_invalid_declaration_exits_2_with_its_line(data: Path, words: str, declaration: str, message: str) -> None:
    write_text(data / "corpora" / "second.yaml", declaration)
    done = command(*words.split(), "--data", data)
    assert done.returncode == 2
    assert f"second.yaml:{message}" in done.stderr


def test_unknown_name_and_missing_folder_exit_2(data: Path, tmp_path: Path) -> None:
    done = command("materialize", "thrid", "--data", data)
    assert done.returncode == 2
    assert "declared names: first, second, mix" in done.stderr
    nowhere = command("materialize", cwd=tmp_path / "data" / "raw")
    assert nowhere.returncode == 2
    assert "phyagi-assets init DIR" in nowhere.stderr


def test_empty_data_folder_exits_2_and_suggests_init(tmp_path: Path) -> None:
    done = command("materialize", "--data", tmp_path)
    assert done.returncode == 2
    assert f"error: {tmp_path}: nothing is declared here" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["materialize", "check", "inspect first", "ui"])
def test_store_that_is_a_file_exits_2(data: Path, words: str) -> None:
    done = command(*words.split(), "--data", data, "--store", data / "raw" / "a.jsonl")
    assert done.returncode == 2
    assert "a.jsonl: is a file; the store is a folder" in done.stderr


def test_store_that_cannot_be_created_exits_2(data: Path) -> None:
    done = command("materialize", "--data", data, "--store", "/proc/none")
    assert done.returncode == 2
    assert done.stderr.startswith("error: /proc/none/.dagster: cannot be created: ")


def test_commands_write_only_to_the_store(data: Path, tmp_path: Path) -> None:
    home, work, temporary = (tmp_path / name for name in ("home", "work", "temporary"))
    for folder in (home, work, temporary):
        folder.mkdir()
    (data / "store").rename(tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "store" not in path.relative_to(tmp_path).parts}
    settings = {"HOME": str(home), "TMPDIR": str(temporary), "HF_HOME": str(home / "hf")}
    done = command("materialize", "--data", data, "--store", tmp_path / "store", cwd=work, **settings)
    assert done.returncode == 0, done.stderr
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "store" not in path.relative_to(tmp_path).parts}
    assert after.keys() == before.keys()
    assert {path for path in after if path.is_file() and after[path] != before[path]} == set()


def test_terminal_shows_a_progress_bar_of_source_bytes(data: Path) -> None:
    reader, terminal = os.openpty()
    running = Command("materialize", "--data", data, log=Path(os.ttyname(terminal)))
    drawn = b""
    while running.is_running or select.select([reader], [], [], 0)[0]:
        if select.select([reader], [], [], 0.1)[0]:
            drawn += os.read(reader, 1 << 16)
    os.close(terminal)
    os.close(reader)
    assert running.ended().code == 0
    size = sum((data / "raw" / name).stat().st_size for name in ("a.jsonl", "b.txt"))
    assert "first/all" in drawn.decode()
    assert f"{size / 1000:.1f}/{size / 1000:.1f} kB" in drawn.decode()


def test_check_lists_all_problems_of_declarations_and_store(built: Path) -> None:
    assert run("check", "--data", built).returncode == 0
    array = built / "store" / "first" / "numpy_cache" / "all" / "train.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.unlink()  # other copies of the store link to it
    array.write_bytes(bytes(content))
    done = run("check", "--data", built)
    assert done.returncode == 1
    assert "its content is not what was written" in done.stderr
    declare_corpus(built, "third", "raw/nothing*.txt")
    declare_corpus(built, "fourth", "raw/b.txt", tokenizer="tokenizers/none")
    done = run("check", "--data", built)
    assert done.returncode == 2
    assert "no file matches" in done.stderr
    assert "there is no folder" in done.stderr
    assert "3 problems" in done.stdout


def test_clean_lists_unneeded_versions_and_removes_them_on_request(built: Path) -> None:
    assert "There is nothing to remove" in run("clean", "--data", built).stdout
    write_text(built / "raw" / "b.txt", "The second corpus has changed. " * 30)
    assert command("materialize", "--data", built).returncode == 0
    assert "would also be removed with --grace 0" in run("clean", "--data", built, "--yes").stdout
    shown = run("clean", "--data", built, "--grace", "0").stdout
    assert re.search(r"second/tokenized_arrow/\.versions/all@\w+  .*B  superseded", shown), shown
    assert "2 versions" in shown.splitlines()[-1]
    assert "would be removed; pass --yes" in shown
    assert run("clean", "--data", built, "--yes", "--grace", "0").stdout.splitlines()[-1].endswith("removed")
    assert "There is nothing to remove" in run("clean", "--data", built).stdout
    assert "0 problems" in run("check", "--data", built).stdout
    for kind in ("corpora", "mixtures"):  # as if the disk with the declarations were not mounted
        (built / kind).rename(built / f"{kind}.away")
    done = run("clean", "--data", built, "--yes", "--grace", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{built}: nothing is declared here" in done.stderr


def test_remove_records_a_document_and_shows_where_it_was_read(built: Path) -> None:
    text = "The first corpus, document 7."
    shown = run("explain", "mix", "0", "--count", "50", "--data", built).stdout
    (found,) = re.findall(r"a.jsonl row 8, id (\w{16})", shown)[:1]
    tried = run("remove", "first", "--match", re.escape(text), "--data", built, "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert f"{found}  all  a.jsonl row 8  {text}" in tried.stdout
    assert not (built / "corpora" / "first.removed.jsonl").exists()
    done = run("remove", "first", "--id", found, "--reason", "on request", "--data", built)
    assert done.returncode == 0, done.stderr
    assert "To exclude them: phyagi-assets materialize mix\n" in done.stdout
    assert re.search(rf"mix +\w{{8}} +train +{found} +\d+ of", done.stdout), done.stdout
    assert found in (built / "corpora" / "first.removed.jsonl").read_text()
    assert text not in (built / "corpora" / "first.removed.jsonl").read_text()
    assert "2 built, 1 up to date, 0 failed" in command("materialize", "--data", built).stdout
    assert found not in run("explain", "mix", "0", "--count", "50", "--data", built).stdout
    again = run("remove", "first", "--id", found, "--data", built).stdout
    assert re.search(rf"\(old\) +train +{found}", again), again
    assert "0 documents recorded" in again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody", "--match", "x"], "'nobody' is not a declared corpus; declared corpora: first, second"),
        (["first"], "choose documents with --id or with --match"),
        (["first", "--id", "0" * 16, "--match", "x"], "choose documents"),
        (["first", "--id", "xyz"], "'xyz' is not a document id"),
        (["first", "--id", "0" * 16], "no document in the artifacts of first has the id 0000000000000000; nothing is recorded"),
        (["first", "--match", "no such text"], "no document of first matches 'no such text'; nothing is recorded"),
        (["first", "--match", "("], "is not a valid regular expression"),
    ],
)
def test_invalid_removal_exits_2_and_records_nothing(data: Path, words: list[str], message: str) -> None:
    done = run("remove", *words, "--data", data)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not list((data / "corpora").glob("*.removed.jsonl"))


def test_plan_shows_the_forecast_before_and_after_the_build(data: Path) -> None:
    write_text(data / "raw" / "a.jsonl", "".join(f'{{"text": "The first corpus, document {i}."}}\n' for i in range(2000)))
    parts = [{"corpus": "first", "weight": 1.5}, {"corpus": "second", "share": 0.2, "max_epochs": 3}]
    declare(data, "mixtures", name="mix", seq_len=32, datasets=parts)
    before = run("plan", "mix", "--tokens", "100k", "--data", data)
    assert before.returncode == 0, before.stderr
    assert "mix 100k tokens" in before.stdout
    assert "≈" in before.stdout
    assert re.search(r"second .* more than max_epochs 3", before.stdout), before.stdout
    assert re.search(r"To build: about .*B on disk, \d+ s on this machine", before.stdout)
    assert not (data / "store" / "mix").exists()
    assert command("materialize", "--data", data).returncode == 0
    after = run("plan", "mix", "--data", data)
    assert "1 epoch of the mixture" in after.stdout
    assert "≈" not in after.stdout
    assert "Everything is built" in after.stdout
    assert "mix 300B tokens" in run("plan", "mix", "--tokens", "300B", "--data", data).stdout
    assert run("plan", "mux", "--data", data).returncode == 2
    assert run("plan", "mix", "--tokens", "many", "--data", data).returncode == 2


def test_mixture_changed_at_a_position_is_explained_on_both_sides(built: Path) -> None:
    before = run("explain", "mix", "0", "--count", "5", "--data", built)
    assert before.returncode == 0, before.stderr
    assert re.search(r"position 0 +first/all, epoch 0", before.stdout), before.stdout
    assert " corpus, doc" in before.stdout
    declare(built, "mixtures", name="mix", seq_len=32, datasets=[{"corpus": "second"}, {"corpus": "first"}])
    changed = command("materialize", "mix", "--at", "5", "--data", built)
    assert "from position 5 on" in changed.stdout, changed.stderr
    assert run("explain", "mix", "0", "--count", "5", "--data", built).stdout == before.stdout
    assert "from position 0 on, from position 5 on" in run("inspect", "mix", "--data", built).stdout
    step = run("explain", "mix", "--step", "2", "--batch-size", "2", "--world-size", "2", "--data", built).stdout
    assert [int(found) for found in re.findall(r"position (\d+) ", step)] == [8, 9, 10, 11]
    assert "0 built, 3 up to date" in command("materialize", "mix", "--data", built).stdout
    for words in (
        ["explain", "mix"],
        ["explain", "mix", "--step", "1"],
        ["materialize", "--at", "5"],
        ["materialize", "first", "--at", "5"],
    ):
        assert command(*words, "--data", built).returncode == 2


def test_inspect_shows_mixtures_corpora_addresses_and_files(built: Path) -> None:
    for name, shown in {
        "mix": "samples in an epoch",
        "first": "tokens per document",
        "first/numpy_cache/all": "The first corpus, document 0.",
        str(built / "store" / "second" / "numpy_cache" / "all" / "train.npy"): "b.txt row 1",
    }.items():
        done = run("inspect", name, "--data", built)
        assert done.returncode == 0, done.stderr
        assert shown in done.stdout
    for name, hint in {
        "nothing": "materialize it with: phyagi-assets materialize nothing",
        "first/numpy_cache/none": "as an address or as the path of an artifact",
        "first/all": "it has these artifacts of the partition: first/numpy_cache/all, first/raw_dataset/all, first/tokenized_arrow/all",
    }.items():
        done = run("inspect", name, "--data", built)
        assert done.returncode == 1
        assert hint in done.stderr


def test_folders_default_to_environment_variables(data: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(data / "store", elsewhere)
    done = command("materialize", "second", PHYAGI_ASSETS_DATA=str(data), PHYAGI_ASSETS_STORE=str(elsewhere))
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "second" / "numpy_cache" / "all" / "train.npy").is_file()
    assert not (data / "store" / "second").exists()


def test_folders_are_accepted_before_the_command_and_given_after_it_win(data: Path, tmp_path: Path) -> None:
    done = command("--data", data, "--store", tmp_path / "elsewhere", "status", "--json")
    assert json.loads(done.stdout)["store"] == str(tmp_path / "elsewhere")
    done = command("--data", tmp_path / "nowhere", "--store", tmp_path / "elsewhere", "status", "--data", data, "--json")
    assert json.loads(done.stdout)["store"] == str(tmp_path / "elsewhere")
    done = command("--data", data, "init", tmp_path / "new")
    assert done.returncode == 2
    assert "init has no option --data" in done.stderr


def test_init_creates_a_buildable_folder_and_refuses_an_existing_one(tmp_path: Path, prepared_store: Path) -> None:
    folder = tmp_path / "mine"
    assert command("init", folder).returncode == 0
    (corpus,) = load_catalog(folder).corpora.values()
    give_report(corpus, GIGATOKEN.name, folder, LocalStore(folder / "store"), LocalStore(prepared_store))
    built = command("materialize", "--data", folder)
    assert built.returncode == 0, built.stderr
    assert "example ×1.5" in built.stdout
    assert run("check", "--data", folder).returncode == 0
    again = command("init", folder)
    assert again.returncode == 2
    assert "not empty" in again.stderr


@pytest.mark.parametrize("words", [[], *([name] for name in ("materialize", "check", "inspect", "remove", "init", "ui"))], ids=" ".join)
def test_every_command_has_help_with_exit_codes(words: list[str]) -> None:
    done = run(*words, "--help")
    assert done.returncode == 0
    assert "Exit codes:" in done.stdout
