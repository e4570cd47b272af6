"""Plans: refused inputs, and changes that they survive."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import DeclarationError, MissingArtifactsError
from phyagi_assets.formats.plan import Window
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.store.local import LocalStore
from tests.support import GPT2, build, build_partition, declare, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import store_contents


def _corpora(workspace: Workspace, **keys: Any) -> dict[str, Corpus]:
    """Two corpora of two partitions each; `keys` are for the second one."""
    for name in ("one", "two"):
        for part in ("a", "b"):
            write_jsonl(workspace.data / name / f"{part}.jsonl", [f"{name} {part} {i}" for i in range(40)])
    splits = {"splits": {"validation": 0.3}}
    return {
        "one": declare_corpus(workspace.data, "one", "one/*.jsonl", partition_by="file", **splits),
        "two": declare_corpus(workspace.data, "two", "two/*.jsonl", partition_by="file", **{**splits, **keys}),
    }


def _mixture(workspace: Workspace, *, seq_len: int = 16, weights: tuple[float, float] = (1.5, 0.5), **keys: Any) -> Mixture:
    parts = [{"corpus": name, "weight": weight} for name, weight in zip(("one", "two"), weights, strict=True)]
    return load_yaml(declare(workspace.data, "mixtures", name="mix", seq_len=seq_len, datasets=parts, **keys), MixtureConfig)


def _plan(mixture: Mixture, corpora: dict[str, Corpus], workspace: Workspace) -> Built:
    listed = {name: list(workspace.sources.partitions(corpus)) for name, corpus in corpora.items()}
    return build_mixture(mixture, corpora, listed, workspace)


def _arrays(folder: Path) -> dict[tuple[str, str, str], list[int]]:
    """The tokens that a plan names, by corpus, partition and split."""
    return {
        (corpus.name, partition.key, split): np.load(folder / shard.path).tolist()
        for corpus in read_plan(folder / "mixture.json").corpora
        for partition in corpus.partitions
        for split, shard in partition.shards.items()
    }


def test_declared_split_without_documents_is_reported(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    corpora = _corpora(workspace, splits={"validation": 0.000001, "test": 0.000001})
    for corpus in corpora.values():
        build(corpus, workspace)
    plan = read_plan(_plan(_mixture(workspace), corpora, workspace).artifact.path / "mixture.json")
    assert plan.total("validation", "tokens") > plan.total("test", "tokens") == 0
    reported = [record.getMessage() for record in caplog.records if "split is empty" in record.getMessage()]
    assert reported == ["mix: its test split is empty, although corpora declare it: no document is in the declared shares; raise them"]


def test_plan_counts_the_tokens_of_its_caches_and_draws_by_weight(workspace: Workspace) -> None:
    corpora = _corpora(workspace)
    built = {name: build(corpus, workspace) for name, corpus in corpora.items()}
    mixed = _plan(_mixture(workspace), corpora, workspace)
    plan = read_plan(mixed.artifact.path / "mixture.json")
    assert (plan.name, plan.seq_len, plan.seed, plan.dtype) == ("mix", 16, 42, "uint16")
    assert [(plan.corpora[source.corpus].name, source.weight) for source in plan.current.sources] == [("one", 1.5), ("two", 0.5)]
    for source in plan.current.sources:
        corpus = plan.corpora[source.corpus]
        assert [partition.key for partition in corpus.partitions] == ["a", "b"]
        for partition in corpus.partitions:
            cache = built[corpus.name][partition.key][2].artifact
            assert partition.fingerprint == cache.fingerprint
            found = {split: {"documents": of.documents, "tokens": of.tokens} for split, of in partition.shards.items()}
            assert found == cache.manifest.counts
        assert source.samples == (plan.total("train", "tokens", source) - 1) // 16
        assert source.drawn == source.rate == math.ceil((source.weight or 0) * plan.total("train", "samples", source))
    totals = {split: {count: plan.total(split, count) for count in ("documents", "tokens", "samples")} for split in SPLITS}
    assert mixed.artifact.manifest.counts == {split: of for split, of in totals.items() if of["tokens"]}
    assert (mixed.artifact.path / plan.tokenizer / "tokenizer.json").is_file()


def test_all_missing_and_damaged_caches_are_listed(workspace: Workspace) -> None:
    corpora, mixture = _corpora(workspace), _mixture(workspace)
    one = build(corpora["one"], workspace)
    (one["b"][2].artifact.path / "train.npy").unlink()
    before = store_contents(workspace.store.root)
    with pytest.raises(MissingArtifactsError, match="mix/mixed_dataset needs artifacts that do not exist yet") as missing:
        _plan(mixture, corpora, workspace)
    assert missing.value.missing == ["one/numpy_cache/b", "two/numpy_cache/a", "two/numpy_cache/b"]
    assert all(f"- {address}\n" in f"{missing.value}\n" for address in missing.value.missing)
    with pytest.raises(MissingArtifactsError, match=r"two \(it has no partitions yet\)"):
        build_mixture(mixture, corpora, {"one": ["a"], "two": []}, workspace)
    assert store_contents(workspace.store.root) == before


def _other_tokenizer(data: Path) -> dict[str, Any]:
    """GPT-2's files and an additional one, so it counts as another tokenizer although its ids are the same."""
    for file in GPT2.iterdir():
        write_text(data / "other" / "gpt2" / file.name, file.read_bytes())
    write_text(data / "other" / "gpt2" / "notes.txt", "trained elsewhere")
    return {"tokenizer": "other/gpt2"}


@pytest.mark.parametrize("what", ["tokenizer", "dtype"])
def test_corpora_with_different_vocabularies_are_refused_with_the_line(workspace: Workspace, what: str) -> None:
    corpora = _corpora(workspace, **(_other_tokenizer(workspace.data) if what == "tokenizer" else {"dtype": "int32"}))
    mixture = _mixture(workspace)
    for corpus in corpora.values():
        build(corpus, workspace)
    before = store_contents(workspace.store.root)
    with pytest.raises(
        DeclarationError, match=rf"mix\.yaml:3: datasets: 'one' and 'two' do not have the same {what}; .*declare the same {what}"
    ):
        _plan(mixture, corpora, workspace)
    assert store_contents(workspace.store.root) == before


def test_corpus_with_partly_rebuilt_partitions_is_refused(workspace: Workspace) -> None:
    corpora, mixture = _corpora(workspace), _mixture(workspace)
    for corpus in corpora.values():
        build(corpus, workspace)
    changed = _corpora(workspace, dtype="int32")["two"]
    build_partition(changed, workspace.sources.partitions(changed)["a"], workspace)
    with pytest.raises(DeclarationError, match="partitions of 'two' do not have the same dtype; bring them up to date"):
        _plan(mixture, {"two": changed, "one": corpora["one"]}, workspace)


def test_sequences_longer_than_a_corpus_are_refused_with_the_line_and_its_tokens(workspace: Workspace) -> None:
    corpora = _corpora(workspace)
    built = [build(corpus, workspace) for corpus in corpora.values()]
    least = min(sum(steps[2].artifact.manifest.counts["train"]["tokens"] for steps in of.values()) for of in built)
    refusal = (
        rf"mix\.yaml:\d+: datasets\.\d\.corpus: '\w+' has {least:,} training tokens, and one sample takes seq_len \+ 1 = {least + 1:,}"
    )
    with pytest.raises(DeclarationError, match=refusal):
        _plan(_mixture(workspace, seq_len=least), corpora, workspace)
    assert workspace.store.open("mix/mixed_dataset") is None
    assert _plan(_mixture(workspace, seq_len=least - 1), corpora, workspace).artifact.manifest.counts["train"]["samples"] >= 1


def test_weight_too_large_to_count_draws_is_refused_with_its_line(workspace: Workspace) -> None:
    corpora = _corpora(workspace)
    _built(workspace, corpora)
    before = _plan(_mixture(workspace), corpora, workspace)
    with pytest.raises(DeclarationError, match=r"mix\.yaml:\d+: datasets\.1\.weight: should be less than or equal to 1000000"):
        _plan(_mixture(workspace, weights=(1.0, 1e15)), corpora, workspace)
    for share in (0.9999999999, 0.999999999999999):  # with the second one, the number of samples does not fit 64 bits
        parts = [{"corpus": "one", "weight": 1e6}, {"corpus": "two", "share": share}]
        shared = load_yaml(declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=parts), MixtureConfig)
        refusal = r"mix\.yaml:\d+: datasets\.1\.share: 100 % makes an epoch of the mixture [\d,]{20,} samples long; the most is 4,503,5"
        with pytest.raises(DeclarationError, match=refusal):
            _plan(shared, corpora, workspace)
    published = workspace.store.open("mix/mixed_dataset")
    assert published is not None
    assert published.path == before.artifact.path


def test_plan_is_readable_after_the_store_is_moved(workspace: Workspace, tmp_path: Path) -> None:
    corpora = _corpora(workspace)
    for corpus in corpora.values():
        build(corpus, workspace)
    before = _arrays(_plan(_mixture(workspace), corpora, workspace).artifact.path)
    moved = tmp_path / "far" / "away"
    moved.parent.mkdir()
    shutil.move(workspace.store.root, moved)
    (published,) = moved.glob("mix/.versions/*")
    assert _arrays(published) == before == _arrays((moved / "mix" / "mixed_dataset").resolve())
    assert str(tmp_path) not in (published / "mixture.json").read_text(encoding="utf-8")


def test_plan_is_the_same_in_a_store_behind_a_link(workspace: Workspace, tmp_path: Path) -> None:
    corpora, mixture = _corpora(workspace), _mixture(workspace)
    (tmp_path / "deep" / "down").mkdir(parents=True)
    shutil.move(workspace.store.root, tmp_path / "deep" / "down" / "store")
    (tmp_path / "shortcut").symlink_to(tmp_path / "deep" / "down" / "store")
    linked = Workspace(data=workspace.data, store=LocalStore(tmp_path / "shortcut"), engines=workspace.engines)
    for corpus in corpora.values():
        build(corpus, linked)
    plan = _plan(mixture, corpora, linked).artifact.path
    assert len(_arrays(plan.resolve())) == 8
    assert "shortcut" not in (plan / "mixture.json").read_text(encoding="utf-8")


def test_caches_of_an_old_plan_stay_readable_after_a_refresh(workspace: Workspace) -> None:
    corpora, mixture = _corpora(workspace), _mixture(workspace)
    for corpus in corpora.values():
        build(corpus, workspace)
    old = _plan(mixture, corpora, workspace)
    before = _arrays(old.artifact.path)
    write_jsonl(workspace.data / "two" / "b.jsonl", [f"refreshed {i}" for i in range(50)])
    build(corpora["two"], workspace)
    new = _plan(mixture, corpora, workspace)
    after = _arrays(new.artifact.path)
    assert new.artifact.path != old.artifact.path
    assert _arrays(old.artifact.path) == before
    assert {key for key in before if before[key] != after[key]} == {("two", "b", "train"), ("two", "b", "validation")}
    assert _plan(mixture, corpora, workspace).reused


def _at(mixture: Mixture, corpora: dict[str, Corpus], workspace: Workspace, position: int) -> Built:
    listed = {name: list(workspace.sources.partitions(corpus)) for name, corpus in corpora.items()}
    return build_mixture(mixture, corpora, listed, workspace, position)


def _built(workspace: Workspace, corpora: dict[str, Corpus]) -> None:
    for corpus in corpora.values():
        build(corpus, workspace)


def test_position_appends_a_segment_only_after_a_change(workspace: Workspace) -> None:
    corpora = _corpora(workspace)
    _built(workspace, corpora)
    old = _plan(_mixture(workspace), corpora, workspace)
    before = read_plan(old.artifact.path / "mixture.json")
    write_jsonl(workspace.data / "two" / "c.jsonl", [f"late {i}" for i in range(60)])
    _built(workspace, corpora)
    heavier = _mixture(workspace, weights=(1.5, 2.0))
    new = _at(heavier, corpora, workspace, 30)
    plan = read_plan(new.artifact.path / "mixture.json")
    assert plan.segments[0] == before.segments[0]
    assert [segment.start for segment in plan.segments] == [0, 30]
    assert [source.weight for source in plan.current.sources] == [1.5, 2.0]
    assert plan.fingerprint == new.artifact.fingerprint != before.fingerprint
    assert plan.agrees(before.fingerprint, 30)
    assert not plan.agrees(before.fingerprint, 31)
    assert _plan(heavier, corpora, workspace).artifact.path == new.artifact.path  # the schedule runs it without a position
    assert _at(heavier, corpora, workspace, 90).artifact.path == new.artifact.path
    assert (old.artifact.path / "mixture.json").is_file()
    third = read_plan(_at(_mixture(workspace), corpora, workspace, 50).artifact.path / "mixture.json")
    assert [segment.start for segment in third.segments] == [0, 30, 50]
    assert third.agrees(before.fingerprint, 30)
    assert third.agrees(plan.fingerprint, 50)
    replaced = read_plan(_plan(_mixture(workspace, weights=(1.0, 1.0)), corpora, workspace).artifact.path / "mixture.json")
    assert (len(replaced.segments), replaced.ancestors) == (1, ())


def test_invalid_positions_and_changes_of_a_segment_are_refused(workspace: Workspace) -> None:
    corpora = _corpora(workspace)
    _built(workspace, corpora)
    with pytest.raises(DeclarationError, match="no plan is published that a segment at position 5 could continue"):
        _at(_mixture(workspace), corpora, workspace, 5)
    _plan(_mixture(workspace), corpora, workspace)
    with pytest.raises(DeclarationError, match=r"at_position is -5; use a position of training from 1 to"):  # though it is up to date
        _at(_mixture(workspace), corpora, workspace, -5)
    _at(_mixture(workspace, weights=(1.0, 1.0)), corpora, workspace, 20)
    before = store_contents(workspace.store.root)
    with pytest.raises(DeclarationError, match="a segment begins at position 20 already; the next one begins after it, not at 20"):
        _at(_mixture(workspace), corpora, workspace, 20)
    with pytest.raises(DeclarationError, match=r"seq_len: is 32 and was 16, which a segment cannot change"):
        _at(_mixture(workspace, seq_len=32), corpora, workspace, 40)
    other = _corpora(workspace, dtype="int32")
    other["one"] = declare_corpus(workspace.data, "one", "one/*.jsonl", partition_by="file", splits={"validation": 0.3}, dtype="int32")
    _built(workspace, other)
    with pytest.raises(DeclarationError, match="another tokenizer or dtype than before, which a segment cannot change"):
        _at(_mixture(workspace), other, workspace, 40)
    assert {name for name in store_contents(workspace.store.root) if name.startswith("mix/")} == {n for n in before if n.startswith("mix/")}


def test_shares_are_parts_of_the_samples_for_any_corpus_sizes(workspace: Workspace) -> None:
    corpora = _corpora(workspace)
    _built(workspace, corpora)

    def drawn(*parts: dict[str, Any]) -> list[float]:
        declared = declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=list(parts))
        plan = read_plan(_plan(load_yaml(declared, MixtureConfig), corpora, workspace).artifact.path / "mixture.json")
        return [source.drawn / plan.current.drawn for source in plan.current.sources]

    assert drawn({"corpus": "one", "share": 0.9}, {"corpus": "two", "share": 0.1}) == pytest.approx([0.9, 0.1], abs=0.025)
    assert drawn({"corpus": "one", "share": 0.25}, {"corpus": "two", "weight": 3}) == pytest.approx([0.25, 0.75], abs=0.025)
    refused = {"one": "the shares add up to 0.9, and must add up to 1", "two": "less than 1 leaves something to the corpora with weights"}
    with pytest.raises(DeclarationError, match=refused["one"]):
        drawn({"corpus": "one", "share": 0.5}, {"corpus": "two", "share": 0.4})
    with pytest.raises(DeclarationError, match=refused["two"]):
        drawn({"corpus": "one", "share": 1.0}, {"corpus": "two"})
    with pytest.raises(DeclarationError, match="has both a weight and a share"):
        drawn({"corpus": "one", "share": 0.5, "weight": 1}, {"corpus": "two"})


def test_window_of_the_shuffle_is_part_of_the_plan(workspace: Workspace) -> None:
    corpora = _corpora(workspace)
    for corpus in corpora.values():
        build(corpus, workspace)
    windowed, plain = (_plan(_mixture(workspace, seq_len=4, **keys), corpora, workspace) for keys in ({"shuffle": {"window": "1kB"}}, {}))
    assert windowed.artifact.fingerprint != plain.artifact.fingerprint
    assert windowed.artifact.manifest.settings["shuffle"] == {"window": 1000}
    plan = read_plan(windowed.artifact.path / "mixture.json")
    assert (plan.format, plan.shuffle) == (6, Window(window=1000))
    assert [group.block for source in plan.current.sources for group in source.groups] == [0, 5]  # the first fits
    with pytest.raises(DeclarationError, match=r"shuffle: is within 1,000 bytes and was True, which a segment cannot change"):
        _at(_mixture(workspace, seq_len=4, shuffle={"window": 1000}), corpora, workspace, 5)
    with pytest.raises(DeclarationError, match=r"shuffle\.window: '8B' is not a size; write it as in 8GB"):
        _mixture(workspace, shuffle={"window": "8B"})
    with pytest.raises(DeclarationError, match="shuffle: should be a valid boolean"):
        _mixture(workspace, shuffle=3)
