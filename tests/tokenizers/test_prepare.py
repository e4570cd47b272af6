"""Declared tokenizers are loaded, checked and stored."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copytree
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import CorpusConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import SourceError, TokenizerDownError, TokenizerError
from phyagi_assets.formats.cache_tokenizer import SAVED
from phyagi_assets.inspection.check import check_everything
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.read_only import read_only
from phyagi_assets.store.state import State
from phyagi_assets.tokenizers.awkward import awkward_strings
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import EnginePool
from phyagi_assets.tokenizers.identity import Identities
from phyagi_assets.tokenizers.prepare import load, prepare, prepare_tokenizer, save_forms
from phyagi_assets.tokenizers.prepared import PreparedTokenizer, _appended_ids, facts_of, tokenizer_label
from tests.bucket_stores import store_in_bucket
from tests.s3 import S3Server
from tests.support import GPT2, REPOSITORY, build, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import REFUSING, store_contents


def _byte_tokenizer(folder: Path, *, unused: int = 0, **settings: Any) -> None:
    """Save a byte tokenizer with given settings, and with unused tokens below the EOS."""
    save_byte_tokenizer(folder)
    file, config = folder / "tokenizer.json", folder / "tokenizer_config.json"
    declared = json.loads(file.read_text(encoding="utf-8"))
    declared["model"]["vocab"] |= {f"unused{i}": 256 + i for i in range(unused)}
    declared["added_tokens"][0]["id"] += unused
    file.write_text(json.dumps(declared), encoding="utf-8")
    changed = {**json.loads(config.read_text(encoding="utf-8")), **settings}
    config.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}), encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "keys", "refusal"),
    [
        ({"eos_token": None}, {}, r"c\.yaml: tokenizer 'tk/own' has no EOS token .* append_eos: false"),
        (
            {"unused": 65_400},
            {"dtype": "uint16"},
            r"c\.yaml: tokenizer 'tk/own' has ids up to 65656, and uint16 ends at 65535; set dtype: int32",
        ),
        ({"split_special_tokens": True}, {}, r"'tk/own' .*split_special_tokens"),
    ],
)
def test_unsuitable_tokenizer_raises_an_error_with_the_remedy(
    data: Path, settings: dict[str, Any], keys: dict[str, Any], refusal: str
) -> None:
    _byte_tokenizer(data / "tk" / "own", **settings)
    with pytest.raises(TokenizerError, match=refusal):
        prepare_tokenizer(declare_corpus(data, "c", "c.txt", tokenizer="tk/own", **keys), Identities(data), LocalStore(data / "store"))


def test_tokenizer_without_eos_works_if_none_is_requested(data: Path) -> None:
    _byte_tokenizer(data / "tk" / "own", eos_token=None)
    corpus = declare_corpus(data, "c", "c.txt", tokenizer="tk/own", append_eos=False)
    assert prepare_tokenizer(corpus, Identities(data), LocalStore(data / "store")).eos_token_id is None


def test_ids_beyond_uint16_give_int32_arrays(data: Path) -> None:
    _byte_tokenizer(data / "tk" / "own", unused=65_400)
    write_text(data / "c.txt", "ab")
    workspace = Workspace(data=data, store=LocalStore(data / "store"), engines=EnginePool(REFUSING))
    ((_, _, cache),) = build(declare_corpus(data, "c", "c.txt", tokenizer="tk/own"), workspace).values()
    ids = np.load(cache.artifact.path / "train.npy")
    assert ids.dtype == np.int32
    assert ids.tolist() == [64, 65, 65_656]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], "it is an empty folder;"),
        (["notes.md", "tokenizer_config.json"], "it has no tokenizer.json, but notes.md, tokenizer_config.json;"),
        (["tokenizer.json"], ""),
    ],
)
def test_folder_without_a_tokenizer_raises_an_error_with_the_expected_files(data: Path, files: list[str], reason: str) -> None:
    (data / "tk").mkdir()
    for file in files:
        write_text(data / "tk" / file, "nothing of the kind")
    store = LocalStore(data / "store")
    with pytest.raises(TokenizerError, match=rf"c\.yaml: tokenizer 'tk' cannot be loaded from {data / 'tk'}: {reason}.*tokenizer\.json"):
        prepare_tokenizer(declare_corpus(data, "c", "c.txt", tokenizer="tk"), Identities(data), store)
    assert store_contents(store.root) == {}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_tokenizer_file_that_cannot_be_read_raises_an_error_with_its_folder(data: Path) -> None:
    write_text(data / "tokenizer" / "tokenizer.json", "{}").with_name("merges.txt").symlink_to("/proc/self/mem")
    corpus = declare_corpus(data, "c", "raw/*.txt", tokenizer="tokenizer")
    with pytest.raises(TokenizerError, match="tokenizer: cannot be read: Input/output error; it is a file of the tokenizer"):
        Identities(data).identity(corpus)


def test_tokenizer_folder_of_which_a_part_cannot_be_listed_is_not_taken_for_a_smaller_one(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(data / "tokenizer" / "templates" / "tool.jinja", "{}")
    corpus, scandir = declare_corpus(data, "c", "raw/*.txt", tokenizer="tokenizer"), os.scandir

    def fail(path: Any) -> Any:
        if str(path).endswith("templates"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(TokenizerError, match="templates: cannot be read: Input/output error"):
        Identities(data).identity(corpus)


def test_tokenizer_that_changes_while_it_is_loaded_is_not_kept_as_the_one_before(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _byte_tokenizer(data / "tk")
    corpus, store = declare_corpus(data, "c", "c.txt", tokenizer="tk"), LocalStore(data / "store")

    def replaced_first(source: str, name: str) -> Any:
        _byte_tokenizer(data / "tk", unused=1)
        return load(source, name)

    with monkeypatch.context() as patch:
        patch.setattr("phyagi_assets.tokenizers.prepare.load", replaced_first)
        with pytest.raises(TokenizerError, match="'tk' has changed while it was loaded; run the command again"):
            prepare_tokenizer(corpus, Identities(data), store)
    assert prepare_tokenizer(corpus, Identities(data), store).eos_token_id == 257
    _byte_tokenizer(data / "tk")
    assert prepare_tokenizer(corpus, Identities(data), store).eos_token_id == 256


def test_unreachable_hub_raises_an_error_that_may_pass(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # what HF_ENDPOINT is read into
    corpus = declare_corpus(data, "c", "c.txt", tokenizer="nobody/nothing@main")
    with pytest.raises(TokenizerDownError, match=r"c\.yaml: tokenizer nobody/nothing@main on the Hub: cannot be reached.*name the commit"):
        prepare_tokenizer(corpus, Identities(data), LocalStore(data / "store"))


@pytest.mark.parametrize("save", [_byte_tokenizer, partial(copytree, GPT2)])
def test_stored_tokenizer_does_not_contain_paths_of_this_machine(data: Path, save: Callable[[Path], object]) -> None:
    save(data / "tk" / "own")
    prepared = prepare_tokenizer(declare_corpus(data, "c", "c.txt", tokenizer="tk/own"), Identities(data), LocalStore(data / "store"))
    kept = [path for path in prepared.artifact.path.rglob("*") if path.is_file()]
    assert len(kept) >= 5
    for path in kept:
        assert str(data).encode() not in path.read_bytes()
        assert str(REPOSITORY).encode() not in path.read_bytes()


def test_preparing_again_reads_the_stored_tokenizer(workspace: Workspace) -> None:
    corpus = declare_corpus(workspace.data, "c", "c.txt")
    kept = store_contents(workspace.store.root)
    first, second = (prepare_tokenizer(corpus, workspace.identities, workspace.store) for _ in range(2))
    assert first == second
    assert store_contents(workspace.store.root) == kept


@pytest.mark.parametrize("is_remote", [False, True])
def test_threads_that_need_the_same_tokenizer_load_it_once(data: Path, s3: S3Server, tmp_path: Path, is_remote: bool) -> None:
    del s3
    save_byte_tokenizer(data / "own")
    tokenizer, loaded, begin = load(str(data / "own"), "own"), [], Barrier(3)
    store = store_in_bucket("s3://raw/store", scratch=tmp_path / "scratch") if is_remote else LocalStore(data / "store")

    def count_loading() -> Any:
        loaded.append(tokenizer)
        return tokenizer

    def prepare_it(_: int) -> PreparedTokenizer:
        begin.wait()
        return prepare("own", "files:own", count_loading, store)

    with ThreadPoolExecutor(3) as threads:
        first, *others = threads.map(prepare_it, range(3))
    assert (len(loaded), others) == (1, [first, first])


def test_damaged_copy_of_a_tokenizer_in_a_bucket_is_fetched_again(data: Path, s3: S3Server, tmp_path: Path) -> None:
    del s3
    save_byte_tokenizer(data / "own")
    store, loaded = store_in_bucket("s3://raw/damaged", scratch=tmp_path / "scratch"), iter([load(str(data / "own"), "own")])
    file = prepare("own", "files:own", lambda: next(loaded), store).saved_backend
    content = file.read_bytes()
    file.write_bytes(content.swapcase())
    assert prepare("own", "files:own", lambda: next(loaded), store).saved_backend == file  # as if it could not be loaded any more
    assert file.read_bytes() == content


def _damage(workspace: Workspace, corpus: Corpus) -> Path:
    """Change a byte of the tokenizer that the caches carry, whose size stays the same."""
    file = prepare_tokenizer(corpus, workspace.identities, workspace.store).saved_backend
    content = file.read_bytes()
    file.unlink()  # it is linked to those of other tests
    file.write_bytes(content.replace(b"the", b"eth", 1))
    return file


def test_damaged_prepared_tokenizer_is_prepared_again_before_anything_is_encoded_with_it(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    corpus, before = declare_corpus(workspace.data, "c", "c.txt"), store_contents(workspace.store.root)
    file = _damage(workspace, corpus)
    assert store_contents(workspace.store.root) != before
    with read_only(workspace.store) as view:
        prepared = prepare_tokenizer(corpus, workspace.identities, view)
        assert prepared.artifact.damage(checksums=True) == []
        assert prepare_tokenizer(corpus, workspace.identities, view) == prepared
        assert store_contents(workspace.store.root) != before
    assert prepare_tokenizer(corpus, workspace.identities, workspace.store).saved_backend == file
    assert store_contents(workspace.store.root) == before
    assert "its content is not what was written; the tokenizer is prepared again" in caplog.text


def test_damaged_prepared_tokenizer_is_reported_and_discarded_by_check(workspace: Workspace) -> None:
    file = _damage(workspace, declare_corpus(workspace.data, "c", "c.txt"))
    write_text(workspace.data / "c.txt", "One.")
    found = check_everything(workspace, [], discard=True)
    assert [problem.message for problem in found.problems] == [f"{file}: its content is not what was written (checksum differs)"]
    assert found.left_alone == ("prepared/gpt2: has been built again in the meantime",)
    undeclared = next(iter((workspace.data / "corpora").iterdir()))
    _damage(workspace, load_yaml(undeclared, CorpusConfig))
    undeclared.unlink()
    assert check_everything(workspace, [], discard=True).discarded == ("prepared/gpt2",)
    assert not file.exists()


def test_facts_of_a_tokenizer_file_are_recorded_and_read_again_if_the_record_is_damaged(workspace: Workspace, tmp_path: Path) -> None:
    artifact = prepare_tokenizer(declare_corpus(workspace.data, "c", "c.txt"), workspace.identities, workspace.store).artifact
    record, gone = State(tmp_path / "record.json"), replace(artifact, path=tmp_path / "gone")
    facts = facts_of(artifact, record)
    assert [token.content for token in facts["special_tokens"]] == ["<|endoftext|>"]
    assert facts_of(gone, record) == facts
    for damage in ("", "{}", '{"special_tokens": 1, "behind": []}', '{"special_tokens": [["a"]], "behind": []}'):
        record.path.write_text(damage, encoding="utf-8")
        assert facts_of(artifact, record) == facts == facts_of(gone, record)


def test_tokenizer_prepared_by_another_process_has_the_same_bytes(workspace: Workspace, tmp_path: Path) -> None:
    corpus = declare_corpus(workspace.data, "c", "c.txt")
    here = prepare_tokenizer(corpus, workspace.identities, workspace.store).artifact.path
    program = (
        "import sys; from pathlib import Path\n"
        "from phyagi_assets.declare.corpus_schema import CorpusConfig; from phyagi_assets.declare.yaml_reader import load_yaml\n"
        "from phyagi_assets.store.local import LocalStore; from phyagi_assets.tokenizers.prepare import prepare_tokenizer\n"
        "from phyagi_assets.tokenizers.identity import Identities\n"
        "corpus, store = load_yaml(Path(sys.argv[1]), CorpusConfig), LocalStore(Path(sys.argv[2]))\n"
        "print(prepare_tokenizer(corpus, Identities(Path('.')), store).artifact.path)"
    )
    seeded = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", program, str(corpus.path), str(tmp_path / "other")]
    there = subprocess.run(command, env=seeded, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout.strip()
    assert store_contents(Path(there)) == store_contents(here)


def test_saved_folder_is_the_declared_tokenizer(workspace: Workspace) -> None:
    prepared = prepare_tokenizer(declare_corpus(workspace.data, "c", "c.txt"), workspace.identities, workspace.store)
    backend = tokenizers.Tokenizer.from_file(str(prepared.backend))
    declared, saved = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (GPT2, prepared.artifact.path / SAVED))
    for text in awkward_strings(["<|endoftext|>"], count=500):
        assert declared(text).input_ids == saved(text).input_ids == backend.encode(text).ids
    assert (saved.eos_token_id, len(saved)) == (prepared.eos_token_id, prepared.vocab_size) == (50256, 50257)


@pytest.mark.parametrize(
    ("name", "label"), [("tokenizers/gpt2", "gpt2"), ("org/Name-1.5@main", "Name-1-5"), ("a/b/", "b"), ("..", "tokenizer")]
)
def test_label_is_a_plain_name(name: str, label: str) -> None:
    assert tokenizer_label(name) == label


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("bytewise")
    save_byte_tokenizer(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


@settings(deadline=None)
@given(text=st.text())
def test_byte_tokenizer_has_one_id_per_byte_and_decodes_the_text(bytewise: Any, text: str) -> None:
    ids = bytewise(text).input_ids
    assert len(ids) == len(text.encode())
    assert bytewise.decode(ids) == text


def _with_end(folder: Path, *, single: str) -> None:
    """Save a word tokenizer whose post-processor adds tokens around each text."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "<lang>": 3, "a": 4, "b": 5}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["<s>", "</s>", "<lang>"])
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single=single, special_tokens=[(token, vocab[token]) for token in ("<s>", "</s>", "<lang>")]
    )
    words.enable_truncation(1)
    words.enable_padding(length=9)
    folder.mkdir(parents=True)
    words.save(str(folder / "tokenizer.json"))
    write_text(folder / "tokenizer_config.json", json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}))


@pytest.mark.parametrize(
    ("single", "ids"),
    [("$A", [4, 5, 2]), ("$A </s>", [4, 5, 2]), ("<s> $A </s>", [1, 4, 5, 2]), ("<s> $A", [1, 4, 5, 2]), ("$A <lang>", [4, 5, 3, 2])],
)
def test_document_ends_with_exactly_one_eos(data: Path, single: str, ids: list[int]) -> None:
    _with_end(data / "tk", single=single)
    write_text(data / "c.txt", "a b")
    workspace = Workspace(data=data, store=LocalStore(data / "store"), engines=EnginePool(REFUSING))
    ((_, rows, cache),) = build(declare_corpus(data, "c", "c.txt", tokenizer="tk"), workspace).values()
    assert np.load(cache.artifact.path / "train.npy").tolist() == ids
    assert not rows.failures
    assert ("eos_by" in rows.artifact.manifest.settings) == single.endswith("</s>")


def test_tokenizer_that_adds_a_token_after_its_eos_raises_if_an_eos_is_appended(data: Path) -> None:
    _with_end(data / "tk", single="$A </s> <lang>")
    with pytest.raises(TokenizerError, match=r"appends its EOS and then another token to each text; set append_eos: false"):
        prepare_tokenizer(declare_corpus(data, "c", "c.txt", tokenizer="tk"), Identities(data), LocalStore(data / "store"))


def test_dropout_raises_an_error_with_the_reason(data: Path) -> None:
    _byte_tokenizer(data / "tk")
    file = data / "tk" / "tokenizer.json"
    declared = json.loads(file.read_text())
    declared["model"]["dropout"] = 0.1
    file.write_text(json.dumps(declared))
    with pytest.raises(TokenizerError, match=r"draws its tokens at random: its tokenizer.json has model.dropout: 0.1"):
        prepare_tokenizer(declare_corpus(data, "c", "c.txt", tokenizer="tk"), Identities(data), LocalStore(data / "store"))


def test_tokenizer_folder_with_code_is_not_executed_and_does_not_prompt(data: Path) -> None:
    _byte_tokenizer(data / "tk", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]}, tokenizer_class="Own")
    write_text(data / "tk" / "own.py", f"open({str(data / 'ran')!r}, 'w')\nclass Own: pass\n")
    with contextlib.suppress(TokenizerError):
        prepare_tokenizer(declare_corpus(data, "c", "c.txt", tokenizer="tk"), Identities(data), LocalStore(data / "store"))
    assert not (data / "ran").exists()


@pytest.mark.parametrize(("mode", "is_token"), [("allow", True), ("text", False)])
def test_spelled_special_token_follows_the_setting_of_the_corpus(data: Path, mode: str, is_token: bool) -> None:
    _byte_tokenizer(data / "tk")
    texts = ["plain", "a<|endoftext|>b", "<|endoftext|>"]
    write_jsonl(data / "c.jsonl", texts)
    workspace = Workspace(data=data, store=LocalStore(data / "store"), engines=EnginePool(REFUSING))
    ((_, rows, cache),) = build(declare_corpus(data, "c", "c.jsonl", tokenizer="tk", special_tokens=mode), workspace).values()
    loaded = transformers.AutoTokenizer.from_pretrained(data / "tk")
    wanted = [id_ for text in texts for id_ in [*loaded(text, split_special_tokens=not is_token).input_ids, 256]]
    assert np.load(cache.artifact.path / "train.npy").tolist() == wanted
    assert (256 in loaded(texts[2], split_special_tokens=not is_token).input_ids) == is_token
    assert not rows.failures
    assert ("special_tokens" in rows.artifact.manifest.settings) != is_token


def test_special_token_error_names_file_and_row(data: Path) -> None:
    _byte_tokenizer(data / "tk")
    write_jsonl(data / "c.jsonl", ["plain", "a<|endoftext|>b"])
    workspace = Workspace(data=data, store=LocalStore(data / "store"), engines=EnginePool(REFUSING))
    with pytest.raises(SourceError, match=r"c\.jsonl row 2: the text spells the special token '<\|endoftext\|>'"):
        build(declare_corpus(data, "c", "c.jsonl", tokenizer="tk", special_tokens="error"), workspace)


def _template(single: str) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(single=single, pair=f"{single} $B:1", special_tokens=[("<s>", 1), ("</s>", 2), ("<e>", 7)])


@pytest.mark.parametrize(
    "processor",
    [
        None,
        processors.ByteLevel(),
        processors.BertProcessing(("[SEP]", 5), ("[CLS]", 4)),
        processors.RobertaProcessing(("</s>", 5), ("<s>", 4)),
        _template("$A"),
        _template("<s> $A"),
        _template("<s> $A </s> <e>"),
        processors.Sequence([processors.ByteLevel(), _template("<s> $A </s>")]),
    ],
)
def test_appended_ids_are_those_that_the_tokenizer_adds_after_a_text(processor: Any) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"x": 0}, unk_token="x"))
    tokenizer.post_processor = processor
    ids = tokenizer.encode("x").ids
    assert _appended_ids(json.loads(tokenizer.to_str())["post_processor"]) == tuple(ids[ids.index(0) + 1 :])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_under_a_tokenizer_is_an_error_of_the_system(tmp_path: Path) -> None:
    class Unsaved:
        def save_pretrained(self, _folder: Path) -> None:
            tokenizers.Tokenizer(tokenizers.models.BPE()).save("/dev/full")

    with pytest.raises(OSError, match="No space left on device") as raised:
        save_forms(Unsaved(), tmp_path)
    assert raised.value.errno == errno.ENOSPC
