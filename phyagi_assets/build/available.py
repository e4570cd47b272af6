"""The partitions that a mixture reads: all partitions of its corpora or, if it may leave out others, those that can be built."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from phyagi_assets.build.failures import Failures
from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.errors import PhyagiAssetsError, SourceError
from phyagi_assets.formatting import listed
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.base import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class AvailablePartitions:
    """The partitions that a mixture reads."""

    keys: Mapping[str, Sequence[str]]
    """Keys of the partitions that are read, by corpus."""
    left_out: Sequence[str]
    """Partitions that failed and are left out, as ``corpus/partition``."""


def lasting_failures(names: Iterable[str], store: Store) -> list[str]:
    """Return the partitions (``corpus/partition``) whose last failure persists until an input changes."""
    failures = Failures(store)
    return [name for name in names if (failure := failures.last(name)) and failure.lasts]


def without_failed(
    mixture: Mixture, keys: Mapping[str, Sequence[str]], failed: Sequence[str], lasting: Collection[str]
) -> AvailablePartitions:
    """Return the partitions of a mixture without those that failed, if its declaration leaves them out.

    Parameters
    ----------
    keys
        Keys of all partitions, by name of the corpus.
    failed
        Partitions (``corpus/partition``) and corpora that failed.
    lasting
        Partitions among them whose failure persists until an input changes. The others may succeed in the next run, and a plan without
        them would soon be replaced.

    Raises
    ------
    PhyagiAssetsError
        The mixture is not built, because its declaration does not leave out failed partitions, not all of the failures last, or nothing is
        left of a corpus.
    """
    skips = mixture.config.skips_failed
    if stopping := [name for name in failed if not skips or name not in lasting]:
        message = f"not built, because of {listed(stopping)}"
        if skips or not set(failed) <= set(lasting):
            raise PhyagiAssetsError(message)
        where = f"{mixture.path.parent.name}/{mixture.path.name}"
        raise PhyagiAssetsError(f"{message}; fix {'them' if len(failed) > 1 else 'it'}, or set on_failed_partition: skip in {where}")
    dropped = set(failed)
    kept = {corpus: [key for key in own if f"{corpus}/{key}" not in dropped] for corpus, own in keys.items()}
    if empty := [corpus for corpus, left in kept.items() if keys[corpus] and not left]:
        raise PhyagiAssetsError(f"not built, because all partitions of {listed(empty)} failed; a corpus is not left out as a whole")
    return AvailablePartitions(keys=kept, left_out=sorted(dropped))


def available_partitions(
    mixture: Mixture,
    corpora: Mapping[str, Corpus],
    keys: Mapping[str, Sequence[str]],
    workspace: Workspace,
    *,
    seconds: float | None = None,
) -> AvailablePartitions:
    """Find the partitions that a mixture reads, given the recorded failures and the content of the sources.

    Parameters
    ----------
    seconds
        Time limit for listing a source, in seconds; None means no limit.

    Raises
    ------
    PhyagiAssetsError
        Nothing is left of a corpus.
    """
    if not mixture.config.skips_failed:
        return AvailablePartitions(keys=keys, left_out=())
    failed: list[str] = []
    for name, keys_of_corpus in keys.items():
        if lasting := lasting_failures((f"{name}/{key}" for key in keys_of_corpus), workspace.store):
            found = workspace.sources.partitions(corpora[name], seconds=seconds)
            failed += [each for each in lasting if not _is_built(corpora[name], found.get(each.partition("/")[2]), workspace)]
    return without_failed(mixture, keys, failed, failed)


def _is_built(corpus: Corpus, partition: Partition | None, workspace: Workspace) -> bool:
    """Return whether a failed partition is current nevertheless, because its content is what it was before the failure."""
    if partition is None:
        return False
    try:
        return all(artifact.is_current for artifact in partition_artifacts(corpus, partition, workspace))
    except SourceError:
        return False
