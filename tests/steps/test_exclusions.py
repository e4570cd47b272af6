"""Excluded documents: absent from all artifacts, and only partitions with them are rebuilt."""

from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phyagi_assets.build.scan import scan_source
from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.document_id import document_id
from phyagi_assets.declare.removals import Removal, add_removals, removals_file
from phyagi_assets.steps.cache import cache_address
from phyagi_assets.steps.step import Workspace
from tests.support import PARTITION_STEPS, build, declare_corpus, write_jsonl

MONDAY, TUESDAY = ["one", "two words", "three words here", ""], ["four", "two words", "five"]
_FOLDERS = count()


def id_of(text: str) -> str:
    return document_id(xxhash.xxh3_64_intdigest(text.encode()))


def remove(corpus: Corpus, *texts: str) -> None:
    add_removals(corpus, [Removal(id=id_of(text)) for text in texts])


@pytest.fixture
def corpus(workspace: Workspace) -> Corpus:
    """Two partitions, built."""
    write_jsonl(workspace.data / "raw" / "monday.jsonl", MONDAY)
    write_jsonl(workspace.data / "raw" / "tuesday.jsonl", TUESDAY)
    corpus = declare_corpus(workspace.data, "c", "raw/*.jsonl", partition_by="file")
    build(corpus, workspace)
    return corpus


def current_steps(corpus: Corpus, workspace: Workspace) -> dict[str, list[str]]:
    """Return the current steps of each partition."""
    found = workspace.sources.partitions(corpus).items()
    return {
        key: [artifact.step for artifact in partition_artifacts(corpus, partition, workspace) if artifact.is_current]
        for key, partition in found
    }


def arrays(corpus: Corpus, workspace: Workspace, partition: str) -> dict[str, list[int]]:
    folder = workspace.store.pointer(cache_address(corpus, partition))
    return {path.name: np.load(path).tolist() for path in sorted(folder.glob("*.npy"))}


def test_exclusion_makes_only_partitions_with_the_document_stale_without_reading_the_source(corpus: Corpus, workspace: Workspace) -> None:
    remove(corpus, "three words here", "was never there")
    artifacts = {key: partition_artifacts(corpus, partition, workspace) for key, partition in workspace.sources.partitions(corpus).items()}
    assert [artifact.is_current for artifact in artifacts["monday"]] == [True, False, False]
    assert all(artifact.is_current for artifact in artifacts["tuesday"])
    build(corpus, workspace)
    assert current_steps(corpus, workspace) == {"monday": list(PARTITION_STEPS), "tuesday": list(PARTITION_STEPS)}
    assert arrays(corpus, workspace, "monday")["train.origins.npy"] == [[0, 0], [0, 1]]


def test_excluded_text_is_left_out_of_every_partition(corpus: Corpus, workspace: Workspace) -> None:
    remove(corpus, "two words")
    assert current_steps(corpus, workspace) == {"monday": ["raw_dataset"], "tuesday": ["raw_dataset"]}
    raw, tokenized, _ = build(corpus, workspace)["tuesday"]
    assert raw.reused
    assert tokenized.artifact.manifest.settings["removed"] == [id_of("two words")]
    assert tokenized.artifact.manifest.counts["removed"] == 1
    assert tokenized.artifact.manifest.counts["documents"] == 2
    assert int(id_of("two words"), 16) not in arrays(corpus, workspace, "tuesday")["train.hashes.npy"]


def test_excluded_text_is_left_out_of_new_partitions(corpus: Corpus, workspace: Workspace) -> None:
    remove(corpus, "six")
    write_jsonl(workspace.data / "raw" / "wednesday.jsonl", ["six", "seven"])
    tokenized = build(corpus, workspace)["wednesday"][1]
    assert (tokenized.artifact.manifest.counts["documents"], tokenized.artifact.manifest.counts["removed"]) == (1, 1)
    assert current_steps(corpus, workspace) == {day: list(PARTITION_STEPS) for day in ("monday", "tuesday", "wednesday")}


def test_withdrawn_exclusion_restores_the_previous_version(corpus: Corpus, workspace: Workspace) -> None:
    before = {key: workspace.store.pointer(cache_address(corpus, key)).resolve() for key in ("monday", "tuesday")}
    remove(corpus, "one")
    build(corpus, workspace)
    after = {key: workspace.store.pointer(cache_address(corpus, key)).resolve() for key in before}
    assert (after["monday"] == before["monday"], after["tuesday"] == before["tuesday"]) == (False, True)
    removals_file(corpus).unlink()
    assert all(built.reused for chain in build(corpus, workspace).values() for built in chain)
    assert {key: workspace.store.pointer(cache_address(corpus, key)).resolve() for key in before} == before


def test_partition_of_only_excluded_documents_is_published_as_empty(
    corpus: Corpus, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    remove(corpus, *TUESDAY)
    _, tokenized, cache = build(corpus, workspace)["tuesday"]
    assert (tokenized.artifact.manifest.counts["removed"], cache.artifact.manifest.counts) == (3, {})
    assert "c/tokenized_arrow/tuesday is published as empty: its documents were removed (tuesday.jsonl)" in caplog.messages
    assert arrays(corpus, workspace, "tuesday") == {}


def test_scan_finds_partitions_to_build_without_the_excluded_document(corpus: Corpus, workspace: Workspace) -> None:
    settled = scan_source(corpus, workspace)
    assert settled.due == []
    remove(corpus, "five")
    (due,) = scan_source(corpus, workspace, settled.listing).due
    assert (due.key, list(due.steps)) == ("tuesday", ["tokenized_arrow", "numpy_cache"])


TEXTS = st.lists(st.text(alphabet="ab \n€", max_size=4), min_size=1, max_size=12)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS, data=st.data())
def test_arrays_equal_those_of_a_source_without_the_excluded_document(
    workspace: Workspace, texts: Sequence[str], data: st.DataObject
) -> None:
    removed = data.draw(st.sets(st.sampled_from(texts)))
    kept = [text for text in texts if text not in removed]
    name = f"law{next(_FOLDERS)}"
    corpora = []
    for kind, of in (("with", texts), ("without", kept)):
        write_jsonl(workspace.data / "raw" / f"{name}.{kind}.jsonl", [*of, "there is always this one"])
        corpora.append(declare_corpus(workspace.data, f"{name}_{kind}", f"raw/{name}.{kind}.jsonl", splits={"validation": 0.3}))
    remove(corpora[0], *removed)
    (left,), (right,) = (build(corpus, workspace).values() for corpus in corpora)
    assert left[1].artifact.manifest.details["content"] == right[1].artifact.manifest.details["content"]
    found, expected = (arrays(corpus, workspace, "all") for corpus in corpora)
    assert {file: of for file, of in found.items() if "origins" not in file} == {
        file: of for file, of in expected.items() if "origins" not in file
    }
