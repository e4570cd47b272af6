"""A data folder, and the stores that undisturbed commands make of it."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.settings import Settings
from phyagi_assets.store.disk import link
from phyagi_assets.store.local import STAGING, Artifact, Store
from tests.robustness.command import Changes, Command
from tests.support import declare, declare_corpus, write_jsonl, write_text
from tests.tokenizers.doubtful import holdings

THINGS = 5
"""What a full materialization builds: four partitions and a mixture."""


@dataclass(frozen=True, kw_only=True)
class Yard:
    """Two corpora of two partitions each and a mixture of them, before and after a refresh."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def refreshed_data(self) -> Path:
        """The same with another text in two of the partitions."""
        return self.root / "refreshed_data"

    @property
    def prepared(self) -> Path:
        """A store that holds nothing but the tokenizer."""
        return self.root / "prepared"

    @property
    def built(self) -> Path:
        """The store that an undisturbed command makes of the prepared one."""
        return self.root / "built"

    @property
    def refreshed(self) -> Path:
        """The store that an undisturbed command makes of the built one after the refresh."""
        return self.root / "refreshed"

    def undisturbed(self, store: Path) -> "Undisturbed":
        """How the undisturbed command went that made a store."""
        return Undisturbed(**json.loads(store.with_suffix(".json").read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """An undisturbed command, told by the clock and by how often it changed the store."""

    begun: float
    """Seconds from its start until just before the first artifact was begun."""
    ended: float
    changes: int


def make_yard(root: Path, prepared_store: Path) -> None:
    """Declare everything, and build it undisturbed."""
    yard = Yard(root=root)
    shutil.copytree(prepared_store, yard.prepared, symlinks=True)
    for data, word in ((yard.data, "old"), (yard.refreshed_data, "new")):
        for play, said, lines in (("hamlet", word, 40_000), ("tempest", "old", 4_000)):
            write_text(data / "raw" / f"{play}.txt", "".join(f"{play} {i}: the {said} words of act {i * i}.\n" for i in range(lines)))
        for day, said in (("monday", word), ("tuesday", "old")):
            notes = [f"{said} note {i} of {day}. " * (i % 7) for i in range(600)]
            write_jsonl(data / "raw" / f"{day}.0.jsonl", notes[:200])
            write_jsonl(data / "raw" / f"{day}.1.jsonl", notes[200:])
        declare_corpus(data, "plays", "raw/*.txt", partition_by="file")
        declare_corpus(data, "notes", "raw/*.jsonl", partition_by=r"(\w+)\.\d\.jsonl", splits={"validation": 0.2})
        declare(data, "mixtures", name="mix", seq_len=64, datasets=[{"corpus": "plays", "weight": 1.5}, {"corpus": "notes"}])
    _build(yard.data, yard.prepared, yard.built)
    _build(yard.refreshed_data, yard.built, yard.refreshed)


def _build(data: Path, before: Path, store: Path) -> None:
    copy_store(before, store)
    changes, started = Changes(), time.time()
    ended = materialize(data, store, changes=changes).ended()
    assert ended.code == 0, ended.said
    first = min(path.stat().st_mtime for path in store.glob("*/*/.versions/*/manifest.json") if path.stat().st_mtime > started)
    measured = {"begun": max(0.0, first - started - 0.1), "ended": ended.seconds, "changes": changes.count.value}
    store.with_suffix(".json").write_text(json.dumps(measured), encoding="utf-8")


def materialize(data: Path, store: Path, *words: str, log: Path | None = None, **options: Any) -> Command:
    """Start the command that brings everything up to date; its output goes beside the store."""
    return Command("materialize", "--data", data, "--store", store, *words, log=log or store.with_suffix(".log"), **options)


def copy_store(store: Path, to: Path) -> Path:
    """A store of one's own. Versions are never edited, so their files are shared where they can be; Dagster's databases are copied."""
    aside = shutil.ignore_patterns(".dagster")
    shutil.copytree(store, to, symlinks=True, copy_function=lambda source, target: link(Path(source), Path(target)), ignore=aside)
    if (store / ".dagster").exists():
        shutil.copytree(store / ".dagster", to / ".dagster")
    return to


def check_whole(yard: Yard, store: Path, like: Path) -> None:
    """Hold a store to be bit for bit like another, without rubbish, and all of it in Dagster's record."""
    assert holdings(store) == holdings(like)
    assert rubbish(store) == []
    assert recorded(yard, store) == {address: artifact.fingerprint for address, artifact in published(store).items()}


def rubbish(store: Path) -> list[str]:
    """What writers that are no more have left in staging."""
    return sorted(path.name for area in store.rglob(STAGING) for path in area.iterdir() if path.name != "entry")


def published(store: Path) -> dict[str, Artifact]:
    """Every published artifact, which is whole."""
    opened = {address: Store(store).open(address) for address in Store(store).list()}
    assert None not in opened.values(), opened
    return {address: artifact for address, artifact in opened.items() if artifact}


def recorded(yard: Yard, store: Path) -> dict[str, str]:
    """The data version that Dagster has of everything that is published, by address."""
    found = {}
    with open_instance(Settings(data=yard.data, store=store)) as instance:
        for address in published(store):
            corpus, stage, *partition = address.split("/")
            key = dg.AssetKey([corpus, stage])
            filter_ = dg.AssetRecordsFilter(asset_key=key, asset_partitions=partition or None)
            (latest,) = instance.fetch_materializations(filter_, limit=1).records
            assert latest.asset_materialization
            found[address] = (latest.asset_materialization.tags or {})["dagster/data_version"]
    return found
