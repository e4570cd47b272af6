"""Sources on the Hub: each commit is listed once, and only changed files are fetched."""

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phyagi_assets.build.scan import scan_source
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.errors import PhyagiAssetsError, SourceError, TokenizerDownError
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.reading import load_mixture
from phyagi_assets.sources.hub_errors import translated
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.raw import raw_address
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers import conformance
from phyagi_assets.tokenizers.byte_level import END_OF_TEXT, save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import EnginePool
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from tests.hub import WIKITEXT, Hub
from tests.support import DATA, build, declare, declare_corpus, write_jsonl, write_text

REPOSITORY = "lab/plays"
CONFIG = "tokenizer/tokenizer_config.json"
ENGINES = EnginePool()
"""Engines that the process with access to the Hub loads once."""
PLAYS = sorted((DATA / "raw" / "shakespeare").glob("*.txt"))[:4]


@pytest.fixture
def hub(hub_running: Hub) -> Hub:
    """A local Hub server with one repository of the beginnings of plays."""
    folder = hub_running.repositories / "datasets" / REPOSITORY / "plays"
    for path in folder.glob("*"):
        path.unlink()
    for play in PLAYS:
        write_text(folder / play.name, play.read_bytes()[:20_000])
    hub_running.traffic.contents.clear()
    return hub_running


@pytest.fixture
def run(hub_client: ProcessPoolExecutor, workspace: Workspace) -> Callable[..., Any]:
    """Run a function of this module in a process that uses the local Hub; its first argument is the data folder."""

    def run_there(function: Callable[..., Any], *arguments: Any, **keys: Any) -> Any:
        return hub_client.submit(_told, function, workspace.data, arguments, keys).result()

    return run_there


def _failed(run: Callable[..., Any]) -> tuple[bool, str]:
    """Build, and return the error and whether it lasts until an input changes."""
    from phyagi_assets.orchestration.partition_runs import is_lasting  # Dagster, which the other process need not import

    problem = run(_problem)
    return is_lasting(problem, None), str(problem)


def _problem(workspace: Workspace) -> PhyagiAssetsError:
    with pytest.raises(PhyagiAssetsError) as caught:
        _built(workspace)
    return caught.value


def _told(function: Callable[..., Any], data: Path, arguments: tuple[Any, ...], keys: dict[str, Any]) -> Any:
    """Return the result of a function, or its error message."""
    try:
        return function(
            Workspace(data=data, store=LocalStore(data / "store"), engines=ENGINES, retry_policy=RetryPolicy(attempts=3, pause=0.0)),
            *arguments,
            **keys,
        )
    except PhyagiAssetsError as problem:
        return str(problem)


def _built(workspace: Workspace, path: str = f"hf://{REPOSITORY}/plays/*.txt", **keys: Any) -> Any:
    """Return fingerprints of all steps and digests of the arrays, by partition."""
    keys = {"partition_by": "file", "splits": {"validation": 0.3}, **keys}
    return {
        key: _summary(of) for key, of in build(declare_corpus(workspace.data, keys.pop("name", "plays"), path, **keys), workspace).items()
    }


def _summary(chain: list[Built]) -> tuple[list[str], dict[str, str]]:
    arrays = sorted(chain[-1].artifact.path.glob("*.npy"))
    return [built.artifact.fingerprint for built in chain], {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in arrays}


def _due(workspace: Workspace, path: str = f"hf://{REPOSITORY}/plays/*.txt") -> dict[str, tuple[str, ...]]:
    corpus = declare_corpus(workspace.data, "plays", path, partition_by="file", splits={"validation": 0.3})
    return {item.key: tuple(item.steps) for item in scan_source(corpus, workspace).due}


def _listed(workspace: Workspace, path: str, **keys: Any) -> dict[str, dict[str, Any]]:
    """The splits of the files of each partition."""
    partitions = workspace.sources.partitions(declare_corpus(workspace.data, "listed", path, **keys))
    return {key: {file.name: file.split for file in partition.files} for key, partition in partitions.items()}


def _origins(workspace: Workspace, partition: str) -> Any:
    corpus = declare_corpus(workspace.data, "plays", f"hf://{REPOSITORY}/plays/*.txt", partition_by="file")
    artifact = workspace.store.open(raw_address(corpus, partition))
    return artifact and artifact.manifest.details["origins"]


def test_remote_files_have_the_fingerprints_and_arrays_of_local_files(hub: Hub, run: Callable[..., Any]) -> None:
    local = run(_built, str(hub.repositories / "datasets" / REPOSITORY / "plays" / "*.txt"), name="local")
    assert len(local) == len(PLAYS)
    assert run(_built) == local
    # By the dataset's own configuration, the names are those in the repository; the documents are the same.
    whole = run(_built, f"hf://{REPOSITORY}", name="whole")
    assert [arrays for _, arrays in whole.values()] == [arrays for _, arrays in local.values()]


def test_commit_that_changes_one_file_fetches_only_it(hub: Hub, run: Callable[..., Any]) -> None:
    run(_built)
    assert sorted(hub.traffic.contents) == [play.name for play in PLAYS]
    hub.traffic.contents.clear()
    assert run(_due) == {}
    folder = hub.repositories / "datasets" / REPOSITORY
    write_text(folder / "README.md", "A commit that changes no play.")
    assert run(_due) == {}
    write_text(folder / "plays" / PLAYS[2].name, "Another play altogether.")
    assert run(_due) == {PLAYS[2].stem: ("raw_dataset", "tokenized_arrow", "numpy_cache")}
    run(_built)
    assert hub.traffic.contents == [PLAYS[2].name]
    assert run(_due) == {}


def test_commit_is_recorded(hub: Hub, run: Callable[..., Any]) -> None:
    del hub
    run(_built)
    (origin,) = run(_origins, PLAYS[0].stem).values()
    repository, _, rest = origin.partition("@")
    commit, _, path = rest.partition("/")
    assert (repository, path) == (f"hf://{REPOSITORY}", f"plays/{PLAYS[0].name}")
    assert len(commit) == 40


def test_broken_transfer_is_retried(hub: Hub, run: Callable[..., Any]) -> None:
    hub.traffic.cut = [3_000]
    broken = run(_built)
    hub.traffic.contents.clear()
    assert run(_built, name="again") == broken


def test_file_whose_signed_address_has_expired_is_asked_for_again(hub: Hub, run: Callable[..., Any]) -> None:
    hub.traffic.expired = 2
    assert len(run(_built)) == len(PLAYS)
    assert hub.traffic.expired == 0


def test_busy_hub_is_retried_and_reported(hub: Hub, run: Callable[..., Any]) -> None:
    hub.traffic.unavailable = 1
    assert len(run(_listed, f"hf://{REPOSITORY}/plays/*.txt")["all"]) == len(PLAYS)
    hub.traffic.unavailable = 1000
    said = run(_listed, f"hf://{REPOSITORY}/plays/*.txt")
    hub.traffic.unavailable = 0
    assert "hf://lab/plays: the Hub answers 503 (tried 3 times)" in said


def _commits(workspace: Workspace, tokenizer: str) -> list[str]:
    """The commit of a tokenizer, or the error, for each of several partitions."""
    corpus = declare_corpus(workspace.data, "c", "c.txt", tokenizer=tokenizer)
    workspace.identities.forget()
    found = []
    for _ in range(3):
        try:
            found.append(workspace.identities.identity(corpus))
        except TokenizerDownError as problem:
            found.append(str(problem))
    return found


def test_commit_of_a_tokenizer_is_requested_again_if_the_hub_is_busy(hub: Hub, run: Callable[..., Any]) -> None:
    name = "openai-community/gpt2@main"
    hub.traffic.unavailable = 1
    assert {found[:26] for found in run(_commits, name)} == {"hub:openai-community/gpt2@"}
    hub.traffic.unavailable = 1000
    (told,) = set(run(_commits, name))
    requests, hub.traffic.unavailable = 1000 - hub.traffic.unavailable, 0
    assert "the Hub answers 503 (tried 3 times); what was built before is kept" in told
    assert requests == 3  # of all partitions together


def _prepared(workspace: Workspace) -> str:
    corpus = declare_corpus(workspace.data, "c", "c.txt", tokenizer="lab/bytes@main", append_eos=False)
    settings = json.loads((prepare_tokenizer(corpus, workspace.identities, workspace.store).artifact.path / CONFIG).read_text())
    return str(settings.get("eos_token"))


@pytest.fixture
def model(hub: Hub) -> Iterator[Path]:
    """The folder of a repository with a tokenizer, which no client has fetched."""
    folder = hub.repositories / "models" / "lab" / "bytes"
    save_byte_tokenizer(folder)
    write_text(folder / "README.md", str(time.monotonic_ns()))
    write_text(folder / "model.safetensors", "")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.usefixtures("model")
def test_tokenizer_is_not_loaded_without_a_file_that_the_hub_does_not_give(
    hub: Hub, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.traffic, "refusal", 400)
    monkeypatch.setattr(hub.traffic, "refused", "/tokenizer_config.json")
    assert "on the Hub: the Hub answers 400" in run(_prepared)
    monkeypatch.setattr(hub.traffic, "error", "GatedRepo")
    monkeypatch.setattr(hub.traffic, "refusal", 403)
    assert "on the Hub: is gated; ask for access on its page" in run(_prepared)
    monkeypatch.setattr(hub.traffic, "refusal", 0)
    assert run(_prepared) == END_OF_TEXT
    assert set(hub.traffic.contents) == {"tokenizer.json", "tokenizer_config.json"}


def _in_folder(workspace: Workspace, folder: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return function(workspace, *arguments)


@pytest.mark.usefixtures("model")
def test_folder_in_the_working_directory_is_not_read_for_a_repository(run: Callable[..., Any], tmp_path: Path) -> None:
    write_text(tmp_path / "lab" / "bytes" / "tokenizer_config.json", "{}")
    assert run(_in_folder, tmp_path, _prepared) == END_OF_TEXT
    write_text(tmp_path / REPOSITORY / "other.txt", "another text")
    assert set(run(_in_folder, tmp_path, _listed, f"hf://{REPOSITORY}")["all"]) == {f"plays/{play.name}" for play in PLAYS}


def test_tokenizer_is_loaded_from_the_cache_of_an_offline_client(run: Callable[..., Any], model: Path) -> None:
    assert run(_prepared) == END_OF_TEXT
    assert run(_offline, shutil.rmtree) == END_OF_TEXT
    write_text(model / "README.md", "another commit")
    assert "is not in the cache of the Hub's clients, which are in offline mode" in run(_offline, shutil.rmtree)


def _offline(workspace: Workspace, forget: Callable[[Path], None]) -> str:
    """Prepare the tokenizer in an empty store, with a client that is told to stay offline once it knows the commit."""
    corpus = declare_corpus(workspace.data, "c", "c.txt", tokenizer="lab/bytes@main")
    workspace.identities.identity(corpus)
    forget(workspace.data / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        return _prepared(workspace)


def test_retry_time_of_the_hub_is_reported_if_it_is_too_long_for_a_tick(
    hub: Hub, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.traffic, "refusal", 429)
    monkeypatch.setattr(hub.traffic, "wait", "90")
    assert run(_due).startswith(f"hf://{REPOSITORY}: the Hub answers 429 and asks to wait 90 s (tried once); what was built before is kept")


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [(401, "", "the Hub refuses the token"), (403, "GatedRepo", "is gated"), (404, "RevisionNotFound", "is gone since it was listed")],
)
def test_refusal_in_the_middle_of_a_run_does_not_last(
    hub: Hub, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, status: int, error: str, message: str
) -> None:
    monkeypatch.setattr(hub.traffic, "refusal", status)
    monkeypatch.setattr(hub.traffic, "error", error)
    monkeypatch.setattr(hub.traffic, "refused", "/resolve/")
    lasts, told = _failed(run)
    assert not lasts
    assert message in told


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "the Hub refuses the token, which is wrong or has expired; log in again (HF_TOKEN"), (403, "access is denied")],
)
def test_refused_token_is_named(hub: Hub, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, status: int, message: str) -> None:
    monkeypatch.setattr(hub.traffic, "refusal", status)
    assert run(_listed, f"hf://{REPOSITORY}/plays/*.txt").startswith(f"hf://lab/plays: {message}")


@pytest.mark.parametrize(
    ("status", "message"), [(403, "is gated"), (400, "cannot be reached, or broke off: LocalEntryNotFoundError (tried 3 times)")]
)
def test_refusal_of_the_file_that_describes_a_dataset_is_not_blamed_on_it(
    hub: Hub, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, status: int, message: str
) -> None:
    folder = hub.repositories / "datasets" / "lab" / "refused"
    write_text(folder / "README.md", f"{status}")
    write_text(folder / "a.txt", "text")
    monkeypatch.setattr(hub.traffic, "refusal", status)
    monkeypatch.setattr(hub.traffic, "error", "GatedRepo" if status == 403 else "")
    monkeypatch.setattr(hub.traffic, "refused", "/resolve/")
    assert run(_listed, "hf://lab/refused").startswith(f"hf://lab/refused: {message}")


def test_several_configurations_are_named_in_one_line(hub: Hub, run: Callable[..., Any]) -> None:
    folder = hub.repositories / "datasets" / "lab" / "languages"
    names = "".join(f"- config_name: {name}\n  data_files: {name}.txt\n" for name in ("en", "fr"))
    for name, text in {"README.md": f"---\nconfigs:\n{names}---\n", "en.txt": "yes", "fr.txt": "oui"}.items():
        write_text(folder / name, text)
    assert run(_listed, "hf://lab/languages").endswith("pick one among the available configs: ['en', 'fr']")


@pytest.mark.usefixtures("hub")
def test_configuration_has_its_splits(run: Callable[..., Any]) -> None:
    splits = {"test": "test", "train": None, "validation": "validation"}
    files = {f"{WIKITEXT}/{split}-00000-of-00001.parquet": of for split, of in splits.items()}
    assert run(_listed, "hf://wikitext", source={"name": WIKITEXT}) == {"all": files}
    assert run(_listed, "hf://wikitext", partition_by="configuration") == {WIKITEXT: files}
    (counts,) = run(_built, "hf://wikitext", name="wiki", partition_by="none", splits={}).values()
    assert set(counts[1]) >= {"test.npy", "train.npy", "validation.npy"}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("hf://no/such", {}, "hf://no/such: there is no such dataset, or it is private and nobody is logged in"),
        ("hf://wikitext", {"revision": "gone"}, "hf://wikitext: there is no revision 'gone'; name a branch, tag or commit"),
        ("hf://wikitext", {"name": "none"}, "source.name: Salesforce/wikitext: BuilderConfig 'none' not found"),
        (f"hf://{REPOSITORY}/none/*", {}, "matches none/*; it has "),
        (f"hf://{REPOSITORY}@main", {}, "source.path: 'hf://lab/plays@main' is not a repository; name one as in hf://org/name"),
    ],
)
def test_missing_repository_revision_or_file_is_named(run: Callable[..., Any], path: str, source: dict[str, str], message: str) -> None:
    assert message in run(_listed, path, source=source)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("README.md", "---\nconfigs: [a: b: c\n---\n", "the dataset cannot be loaded: ParserError"),
        (
            "README.md",
            "---\nconfigs:\n- config_name: a\n  data_files: gone.jsonl\n---\n",
            "gone.jsonl'; correct the repository, or name its files",
        ),
        ("bad.py", "import datasets\n", "Dataset scripts are no longer supported"),
    ],
)
def test_unloadable_repository_is_an_immediate_error(hub: Hub, run: Callable[..., Any], name: str, content: str, message: str) -> None:
    folder = hub.repositories / "datasets" / "lab" / "bad"
    for path in folder.glob("*"):
        path.unlink()
    write_text(folder / name, content)
    told = run(_listed, "hf://lab/bad")
    assert told.startswith("hf://lab/bad: ")
    assert message in told
    assert "tried" not in told


def _left_out(workspace: Workspace, path: str) -> list[tuple[str, str]]:
    listing = workspace.sources.listing(declare_corpus(workspace.data, "listed", path))
    return [(file.origin.rpartition("/")[2], file.reason) for file in listing.left_out]


def test_files_of_another_format_are_reported(hub: Hub, run: Callable[..., Any]) -> None:
    for name in ("a.jsonl", "b.jsonl", "c.csv", ".d.jsonl"):
        write_text(hub.repositories / "datasets" / "lab" / "mixed" / name, '{"text": "x"}\n')
    ((name, reason),) = run(_left_out, "hf://lab/mixed")
    assert (name, reason.partition(":")[0]) == ("c.csv", "not .jsonl")
    assert run(_left_out, "hf://lab/mixed/*.jsonl") == [(".d.jsonl", "hidden")]


def _chats(workspace: Workspace, path: str, name: str) -> tuple[list[str], dict[str, str], list[int]]:
    """Return the fingerprints and arrays of a corpus of conversations, and the labels of the first sample of a mixture of it."""
    keys = {"messages": "messages", "chat_template": "chat.jinja"}
    corpus = declare_corpus(workspace.data, name, path, **keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformance, "_code_point_groups", lambda: [range(0x300)])
        (chain,) = build(corpus, workspace).values()
    declare(workspace.data, "mixtures", name=f"mix_{name}", seq_len=32, datasets=[{"corpus": name}], shuffle=False)
    catalog = load_catalog(workspace.data)
    build_mixture(catalog.mixtures[f"mix_{name}"], catalog.corpora, {name: list(workspace.sources.partitions(corpus))}, workspace)
    batch = load_mixture(f"mix_{name}", store=workspace.data / "store").train.batch(np.arange(1))
    return *_summary(chain), batch["labels"][0].tolist()


def test_conversations_on_the_hub_are_trained_on_like_local_ones(hub: Hub, run: Callable[..., Any], workspace: Workspace) -> None:
    write_text(
        workspace.data / "chat.jinja",
        "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}|{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}",
    )
    rows = [{"messages": [{"role": "user", "content": f"What is {i}?"}, {"from": "gpt", "value": f"A number, {i}."}]} for i in range(20)]
    written = write_jsonl(hub.repositories / "datasets" / REPOSITORY / "plays" / "chats.jsonl", rows)
    there = run(_chats, f"hf://{REPOSITORY}/plays/*.jsonl", "there")
    assert there == run(_chats, str(written), "here")
    assert "train.trained.npy" in there[1]
    assert 0 < sum(label != -100 for label in there[2]) < 32


def test_file_deleted_during_listing_is_not_reported_as_a_missing_revision() -> None:
    import httpx
    from huggingface_hub import errors

    answer = httpx.Response(404, request=httpx.Request("GET", "http://hub"))
    with pytest.raises(SourceError, match="a file of the repository is gone"), translated("dataset", "main"):
        raise errors.RemoteEntryNotFoundError("gone", response=answer)


def test_full_disk_of_the_clients_cache_is_not_blamed_on_the_name_of_a_tokenizer() -> None:
    with pytest.raises(SourceError, match=r"its cache \(.* No space left on device: '/cache'\); free some space"), translated("model"):
        raise OSError(errno.ENOSPC, "No space left on device", "/cache")


def test_full_disk_while_an_answer_of_the_hub_is_handled_is_not_reported_as_that_answer() -> None:
    import httpx
    from huggingface_hub import errors

    full = OSError(errno.ENOSPC, "No space left on device", "/cache")
    full.__context__ = errors.HfHubHTTPError("busy", response=httpx.Response(503, request=httpx.Request("GET", "http://hub")))
    with pytest.raises(OSError, match="No space left on device"), translated("dataset", "main", fetches=True):
        raise full
