"""Scan mixtures for stale plans, at little cost if nothing has changed.

A plan is stale if it differs from the plan that the published caches give. The cause does not matter: a scan also finds plans that are
stale because a run failed or a change was missed. Sources are not listed; the scans of corpora compare published artifacts with sources.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from phyagi_assets.build.available import available_partitions
from phyagi_assets.build.scan import published_stamp
from phyagi_assets.build.staleness import fingerprint_at, mixture_artifact
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.steps.step import Step, Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.store.fingerprint import canonical_json, text_digest
from phyagi_assets.store.manifest import Manifest

QUIET = timedelta(seconds=10)
"""Time to wait after a publication before a mixture of the corpus is examined, because more partitions may follow at once."""
_LISTING_SECONDS = 20.0
"""Time limit for listing a remote source, in seconds. A tick scans several mixtures, and Dagster stops it after 60."""
_EXAMINED = timedelta(hours=1)
"""Time after which a mixture is examined even if no stamp has changed: another machine may have published to the bucket."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScannedMixture:
    """The state of a mixture's plan."""

    inputs_digest: str
    """Digest of the declaration and of the inputs of the expected plan; see `mixture_inputs_digest`."""
    is_current: bool
    other: str
    """Fingerprint of the published plan if it is intact, but not the expected one; else empty."""
    missing: Sequence[str] = ()
    """Partitions (``corpus/partition``) without an intact cache, and corpora without partitions, if the plan is not current."""
    is_damaged: bool = False
    """Whether the cache of one of them is published, but damaged. Building it again may leave the stamp as it is."""


def mixture_inputs_digest(mixture: Mixture, expected: Manifest) -> str:
    """Return the digest of everything that determines the result of a run of a mixture, given the expected manifest of its plan."""
    return text_digest(canonical_json([mixture.digest, expected.fingerprint]))


def published_inputs(step: Step, partitions: Mapping[str, Sequence[str]], store: Store) -> dict[str, dict[str, str]]:
    """Return the published fingerprints of the inputs of a mixture's step, by corpus and partition; empty if nothing is published."""
    return {corpus: {key: fingerprint_at(_input(step, corpus, key), store) for key in keys} for corpus, keys in partitions.items()}


def _input(step: Step, corpus: str, key: str) -> str:
    return f"{corpus}/{step.input}/{key}"


class MixtureScan:
    """A scan of many mixtures at one moment. Inputs that several mixtures share are looked up once.

    Parameters
    ----------
    partitions
        Sorted keys of the partitions of each corpus.
    recorded
        For a store in a bucket, a value per corpus and mixture that changes with each publication. Scans compare these values instead of
        the folders of the store, to avoid listing the bucket.
    """

    def __init__(
        self, corpora: Mapping[str, Corpus], partitions: Mapping[str, Sequence[str]], workspace: Workspace, *, recorded: Mapping[str, str]
    ) -> None:
        self._corpora, self._partitions, self._workspace, self._recorded = corpora, partitions, workspace, recorded
        self._now = time.time()
        self._inputs: dict[str, _Inputs] = {}
        workspace.store.refresh()

    def stamp(self, mixture: Mixture, step: Step) -> str:
        """Return a digest that changes whenever the plan of a mixture may have become stale or up to date. No artifact is opened."""
        store, name = self._workspace.store, mixture.config.name
        plan = self._recorded.get(name) if store.is_remote else published_stamp(store, step.address(name))
        parts = [
            [self._inputs_of(part, step).stamp, _failures_stamp(store, part) if mixture.config.skips_failed else None]
            for part in mixture.config.corpora
        ]
        return text_digest(canonical_json([mixture.digest, step.code_version, int(self._now / _EXAMINED.total_seconds()), plan, parts]))

    def changed_just_now(self, mixture: Mixture, step: Step) -> str:
        """Return the first corpus of a mixture with a publication in the last ten seconds; empty if there is none."""
        for part in mixture.config.corpora:
            changed = _folder_stamp(self._workspace.store, f"{part}/{step.input}")
            if changed and 0 <= self._now - changed[0] / 1e9 < QUIET.total_seconds():
                return part
        return ""

    def scan(self, mixture: Mixture, step: Step) -> ScannedMixture:
        """Examine the plan of a mixture.

        Raises
        ------
        PhyagiAssetsError
            A source cannot be listed, which is necessary if the mixture may leave out a failed partition; or all partitions of a corpus
            are left out.
        """
        store, name = self._workspace.store, mixture.config.name
        keys = {part: self._partitions[part] for part in mixture.config.corpora}
        available = available_partitions(mixture, self._corpora, keys, self._workspace, seconds=_LISTING_SECONDS)
        inputs = {
            part: {key: self._inputs_of(part, step).published[key] for key in keys_read} for part, keys_read in available.keys.items()
        }
        expected = mixture_artifact(mixture, inputs, self._workspace, step)
        assert expected.manifest is not None, "the fingerprints of published caches are known"
        digest = mixture_inputs_digest(mixture, expected.manifest)
        if expected.is_current:
            return ScannedMixture(inputs_digest=digest, is_current=True, other="")
        plan = store.open(step.address(name), intact=True)
        missing = {
            f"{part}/{key}": found
            for part, fingerprints in inputs.items()
            for key, found in fingerprints.items()
            if key not in self._inputs_of(part, step).intact
        }
        return ScannedMixture(
            inputs_digest=digest,
            is_current=False,
            other=plan.fingerprint if plan and plan.fingerprint != expected.manifest.fingerprint else "",
            missing=[*(part for part, fingerprints in inputs.items() if not fingerprints), *missing],
            is_damaged=any(missing.values()),
        )

    def _inputs_of(self, corpus: str, step: Step) -> "_Inputs":
        folder = f"{corpus}/{step.input}"
        if folder not in self._inputs:
            self._inputs[folder] = _Inputs(
                corpus=self._corpora[corpus],
                keys=self._partitions[corpus],
                step=step,
                store=self._workspace.store,
                recorded=self._recorded.get(corpus),
            )
        return self._inputs[folder]


@dataclass(kw_only=True, eq=False)
class _Inputs:
    """The artifacts of one corpus that mixtures read. Each property is looked up when it is first needed, for all mixtures."""

    corpus: Corpus
    keys: Sequence[str]
    """Keys of all partitions, sorted."""
    step: Step
    """The step of mixtures."""
    store: Store
    recorded: str | None
    """For a store in a bucket, a value that changes with each publication."""

    @cached_property
    def stamp(self) -> Sequence[object]:
        """A value that changes with the declaration, the partitions and each publication."""
        name, store = self.corpus.config.name, self.store
        published = self.recorded if store.is_remote else _folder_stamp(store, f"{name}/{self.step.input}")
        return [self.corpus.digest, text_digest(canonical_json(list(self.keys))), published]

    @cached_property
    def published(self) -> Mapping[str, str]:
        """Published fingerprints, by partition; empty where nothing is published."""
        name = self.corpus.config.name
        return published_inputs(self.step, {name: self.keys}, self.store)[name]

    @cached_property
    def intact(self) -> Collection[str]:
        """Partitions whose published artifact is intact."""
        return {key for key in self.keys if self.store.open(_input(self.step, self.corpus.config.name, key), intact=True)}


def _failures_stamp(store: Store, corpus: str) -> Sequence[int] | None:
    """Return the stamp of the recorded failures of a corpus."""
    return _stamp_of(store.state("failures", f"{corpus}/any").path.parent)


def _folder_stamp(store: Store, folder: str) -> Sequence[int] | None:
    """Return the time at which a pointer in a folder was last replaced, in nanoseconds, and the folder's inode; None in a bucket."""
    return None if store.is_remote else _stamp_of(store.pointer(f"{folder}/any").parent)


def _stamp_of(folder: Path) -> Sequence[int] | None:
    try:
        seen = folder.stat()
    except OSError:  # nothing was published yet
        return None
    return [seen.st_mtime_ns, seen.st_ino]
