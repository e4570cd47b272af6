"""A data folder, and the stores that uninterrupted commands build from it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.settings import Settings
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.local import STAGING, LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN
from tests.robustness.command import Changes, Command
from tests.support import copy_store, declare, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import give_report, store_contents

BYTES = "tokenizers/bytes"
ARTIFACTS = 5
"""Number of things that a full materialization builds: four partitions and a mixture."""


@dataclass(frozen=True, kw_only=True)
class ReferenceStores:
    """Two corpora of two partitions each and a mixture of them, before and after a refresh."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def refreshed_data(self) -> Path:
        """A copy of the data folder with another text in two of the partitions."""
        return self.root / "refreshed_data"

    @property
    def prepared(self) -> Path:
        """A store that contains only the tokenizers."""
        return self.root / "prepared"

    @property
    def built(self) -> Path:
        """The store that an uninterrupted command builds from the prepared one."""
        return self.root / "built"

    @property
    def refreshed(self) -> Path:
        """The store that an uninterrupted command builds from the built one after the refresh."""
        return self.root / "refreshed"

    def uninterrupted(self, store: Path) -> "Uninterrupted":
        """Return the measurements of the uninterrupted command that built a store."""
        return Uninterrupted(**json.loads(store.with_suffix(".json").read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True)
class Uninterrupted:
    """Measurements of an uninterrupted command: times, and the number of its changes to the store."""

    begun: float
    """Seconds from its start until just before the first artifact was begun."""
    ended: float
    changes: int


def make_reference_stores(root: Path, prepared_store: Path) -> None:
    """Declare everything, and build it without interruption."""
    reference = ReferenceStores(root=root)
    copy_store(prepared_store, reference.prepared)
    for data, word in ((reference.data, "old"), (reference.refreshed_data, "new")):
        for play, said, lines in (("hamlet", word, 40_000), ("tempest", "old", 4_000)):
            write_text(data / "raw" / f"{play}.txt", "".join(f"{play} {i}: the {said} words of act {i * i}.\n" for i in range(lines)))
        for day, said in (("monday", word), ("tuesday", "old")):
            notes = [f"{said} note {i} of {day}. " * (i % 7) for i in range(600)]
            write_jsonl(data / "raw" / f"{day}.0.jsonl", notes[:200])
            write_jsonl(data / "raw" / f"{day}.1.jsonl", notes[200:])
        save_byte_tokenizer(data / BYTES)  # each command loads its tokenizer, GPT-2's in a second
        plays = declare_corpus(data, "plays", "raw/*.txt", partition_by="file", tokenizer=BYTES)
        declare_corpus(data, "notes", "raw/*.jsonl", partition_by=r"(\w+)\.\d\.jsonl", splits={"validation": 0.2}, tokenizer=BYTES)
        declare(data, "mixtures", name="mix", seq_len=64, datasets=[{"corpus": "plays", "weight": 1.5}, {"corpus": "notes"}])
    give_report(plays, GIGATOKEN.name, reference.refreshed_data, LocalStore(reference.prepared), LocalStore(prepared_store))
    Command(
        "--help", log=root / "help.log"
    ).ended()  # starts the process that commands are forked from, so that its imports are not measured
    _build(reference.data, reference.prepared, reference.built)
    _build(reference.refreshed_data, reference.built, reference.refreshed)


def _build(data: Path, before: Path, store: Path) -> None:
    copy_store(before, store)
    changes, started = Changes(), time.time()
    ended = materialize(data, store, changes=changes).ended()
    assert ended.code == 0, ended.said
    first = min(path.stat().st_mtime for path in store.glob("*/*/.versions/*/manifest.json") if path.stat().st_mtime > started)
    measured = {"begun": max(0.0, first - started - 0.1), "ended": ended.seconds, "changes": changes.count.value}
    store.with_suffix(".json").write_text(json.dumps(measured), encoding="utf-8")


def materialize(data: Path, store: Path, *words: str, log: Path | None = None, **options: Any) -> Command:
    """Start the command that builds everything that is stale; its log is next to the store."""
    return Command("materialize", "--data", data, "--store", store, *words, log=log or store.with_suffix(".log"), **options)


def check_whole(reference: ReferenceStores, store: Path, like: Path) -> None:
    """Check that a store equals another bit for bit, has nothing left in staging, and is recorded completely in Dagster."""
    assert store_contents(store) == store_contents(like)
    assert staging_leftovers(store) == []
    assert recorded(reference, store) == {address: artifact.fingerprint for address, artifact in published(store).items()}


def staging_leftovers(store: Path) -> list[str]:
    """Return the entries that dead writers have left in staging."""
    return sorted(path.name for area in store.rglob(STAGING) for path in area.iterdir() if path.name != "entry")


def published(store: Path) -> dict[str, Artifact]:
    """Return every published artifact by address, after checking that each can be opened."""
    opened = {address: LocalStore(store).open(address) for address in LocalStore(store).list()}
    assert None not in opened.values(), opened
    return {address: artifact for address, artifact in opened.items() if artifact}


def recorded(reference: ReferenceStores, store: Path) -> dict[str, str]:
    """Return the data version in Dagster of every published artifact, by address."""
    found = {}
    with open_instance(Settings(data=reference.data, store=store)) as instance:
        for address in published(store):
            corpus, stage, *partition = address.split("/")
            key = dg.AssetKey([corpus, stage])
            filter_ = dg.AssetRecordsFilter(asset_key=key, asset_partitions=partition or None)
            (latest,) = instance.fetch_materializations(filter_, limit=1).records
            assert latest.asset_materialization
            found[address] = (latest.asset_materialization.tags or {})["dagster/data_version"]
    return found
