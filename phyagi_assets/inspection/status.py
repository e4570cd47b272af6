"""The state of corpora and mixtures: whether they are up to date, stale or failed, their sizes, and the time of their last build.

The state of a partition follows from the links of the store and the stamps of the source files. Of its artifacts, only the manifest of the
cache is read. Files are not compared with their records, as ``phyagi-assets check`` does.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from phyagi_assets.build.available import lasting_failures
from phyagi_assets.build.examine import known_inputs
from phyagi_assets.build.failures import Failures
from phyagi_assets.build.scan import within_budget
from phyagi_assets.build.staleness import fingerprint_at, mixture_artifact
from phyagi_assets.declare.catalog import Catalog, Corpus, Mixture
from phyagi_assets.declare.removals import read_removals
from phyagi_assets.errors import PhyagiAssetsError, StoreAccessError, StoreError, TokenizerDownError, TokenizerError
from phyagi_assets.formats.plan_file import plan_of
from phyagi_assets.inspection.report import Record, Report
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.step import Scope, Workspace
from phyagi_assets.store.addresses import Address
from phyagi_assets.store.artifact import Artifact

State = Literal["current", "stale", "failed", "never built"]


class PartitionStatus(Record):
    """The state of a partition that is not up to date."""

    partition: str
    """Key of the partition."""
    state: State
    step: str
    """Name of its first step that has to be built."""
    problem: str | None
    """Reason for the last failure, if the partition failed and was not built since then."""
    failed_at: str | None
    """Time of the failure in UTC, in the format of ISO 8601."""


class CorpusStatus(Record):
    """The state of a corpus."""

    name: str
    partitions: int
    """Number of partitions in the source."""
    current: int
    """Number of partitions that are up to date."""
    stale: int
    """Number of partitions that have to be built, including those that were never built and those that failed."""
    failed: int
    """Number of partitions that failed when they were built last."""
    documents: int
    """Number of documents in the published caches of these partitions, over all splits."""
    tokens: int
    """Number of tokens in these caches, over all splits."""
    bytes: int
    """Size of these caches, in bytes, without the tokenizer, which they share."""
    last_built: str | None
    """Time at which a cache was written or published last, in UTC, in the format of ISO 8601; None without a cache."""
    not_current: tuple[PartitionStatus, ...]
    """The partitions that are not up to date."""
    problem: str | None
    """Reason why the source cannot be listed, the list of removed documents or a version cannot be read, or the commit of the tokenizer
    cannot be found on the Hub."""


class MixtureStatus(Record):
    """The state of a mixture."""

    name: str
    state: State
    samples: int
    """Number of samples in an epoch of the published plan; 0 without a plan."""
    tokens: int
    """Number of tokens in an epoch of the published plan."""
    fingerprint: str | None
    """Fingerprint of the published plan."""
    last_built: str | None
    """Time at which the plan was written or published last, in UTC, in the format of ISO 8601; None without a plan."""
    problem: str | None
    """Reason for the last failure, if the mixture failed and was not built since then, or why its plan cannot be read."""
    skipped: tuple[str, ...]
    """Failed partitions that the mixture leaves out, as ``corpus/partition``."""


class StatusReport(Report):
    """The state of corpora and mixtures."""

    report: Literal["status"] = "status"
    version: Literal[1] = 1
    data: str
    """Path of the data folder."""
    store: str
    """Path or address of the store."""
    corpora: tuple[CorpusStatus, ...]
    mixtures: tuple[MixtureStatus, ...]
    left_out: dict[str, str]
    """Reasons why declarations cannot be used, by name."""


def status(catalog: Catalog, workspace: Workspace) -> StatusReport:
    """Return the state of the corpora and mixtures of a catalog."""
    found = {name: _corpus(corpus, workspace) for name, corpus in catalog.corpora.items()}
    corpora, caches = tuple(state for state, _ in found.values()), {name: caches_of_corpus for name, (_, caches_of_corpus) in found.items()}
    problems = {corpus.name for corpus in corpora if corpus.problem}
    failed = [
        f"{corpus.name}/{partition.partition}" for corpus in corpora for partition in corpus.not_current if partition.state == "failed"
    ]
    lasting = lasting_failures(failed, workspace.store)
    return StatusReport(
        data=str(workspace.data),
        store=str(workspace.store),
        corpora=corpora,
        mixtures=tuple(_mixture(mixture, caches, problems, lasting, workspace) for mixture in catalog.mixtures.values()),
        left_out={broken.name: str(broken.reason) for broken in catalog.broken},
    )


def _corpus(corpus: Corpus, workspace: Workspace) -> tuple[CorpusStatus, dict[str, str | None]]:
    """Return the state of a corpus, and the expected fingerprint of the cache of each partition; None if it is unknown."""
    partitions, problem = _listed(corpus, workspace)
    last = list(FLOW.in_scope(Scope.PARTITION))[-1]
    caches: dict[str, str | None] = {}
    not_current, published = [], list[Artifact]()
    for partition, may_read in within_budget(corpus, partitions, workspace):
        cache = Address(last.address(corpus.config.name, partition.key))
        step, artifact = None, None
        try:
            step, caches[partition.key] = _first_stale(corpus, partition, workspace, may_read=may_read)
            artifact = workspace.store.open(cache)
        except StoreAccessError as found:
            problem = problem or str(found)
        if artifact:
            published.append(artifact)
        elif not step:  # the published version is missing, or its manifest is damaged
            step, caches[partition.key] = last.name, None
        if step:
            not_current.append(_stale(cache, step, artifact, workspace))
    counts = [count for artifact in published for count in artifact.manifest.counts.values()]
    state = CorpusStatus(
        name=corpus.config.name,
        partitions=len(partitions),
        current=len(partitions) - len(not_current),
        stale=len(not_current),
        failed=sum(partition.state == "failed" for partition in not_current),
        documents=sum(count["documents"] for count in counts),
        tokens=sum(count["tokens"] for count in counts),
        bytes=sum(artifact.manifest.own_bytes for artifact in published),
        last_built=_time(max((artifact.written for artifact in published), default=None)),
        not_current=tuple(not_current),
        problem=problem,
    )
    return state, caches


def _listed(corpus: Corpus, workspace: Workspace) -> tuple[Mapping[str, Partition], str | None]:
    """Return the partitions in the source of a corpus, and the reason why the corpus cannot be examined, if there is one."""
    partitions: Mapping[str, Partition] = {}
    try:
        partitions = workspace.sources.partitions(corpus)
        read_removals(corpus)
        workspace.identities.identity(corpus)
    except TokenizerError as found:
        return partitions, str(found) if isinstance(found, TokenizerDownError) else None  # its build reports any other
    except PhyagiAssetsError as found:
        return partitions, str(found)
    return partitions, None


def _stale(cache: Address, step: str, artifact: Artifact | None, workspace: Workspace) -> PartitionStatus:
    """Return the state of a partition that is not up to date.

    Parameters
    ----------
    cache
        Address of its cache.
    step
        Name of its first step that has to be built.
    artifact
        Its published cache; None without one that can be read.
    """
    failure = Failures(workspace.store).last(f"{cache.name}/{cache.key}")
    was_built = True
    with suppress(StoreAccessError):  # an artifact that may not be read exists
        was_built = artifact is not None or bool(fingerprint_at(cache, workspace.store))
    return PartitionStatus(
        partition=cache.key,
        state="failed" if failure else "stale" if was_built else "never built",
        step=step,
        problem=failure.reason if failure else None,
        failed_at=failure.at if failure else None,
    )


def _first_stale(corpus: Corpus, partition: Partition, workspace: Workspace, *, may_read: bool) -> tuple[str, str | None]:
    """Return the name of the first step to build, empty if there is none, and the expected fingerprint of the last step."""
    inputs: dict[str, str] = {}
    fingerprint = None
    for step in FLOW.in_scope(Scope.PARTITION):
        published = fingerprint_at(step.address(corpus.config.name, partition.key), workspace.store)
        if not published or not may_read:
            return step.name, None
        try:
            expected = step.expected(corpus, partition, workspace, {step.input: inputs[step.input]} if step.input else {})
        except PhyagiAssetsError:  # its build reports the error
            return step.name, None
        if expected is None or expected.fingerprint != published:
            return step.name, None
        inputs[step.name] = fingerprint = published
    return "", fingerprint


def _mixture(
    declared: Mixture, caches: Mapping[str, Mapping[str, str | None]], problems: set[str], lasting: Sequence[str], workspace: Workspace
) -> MixtureStatus:
    name = declared.config.name
    (step,) = FLOW.in_scope(Scope.MIXTURE)
    parts = declared.config.corpora
    skipped = {failed for failed in lasting if failed.partition("/")[0] in parts} if declared.config.skips_failed else set()
    read = {part: {key: fingerprint for key, fingerprint in caches[part].items() if f"{part}/{key}" not in skipped} for part in parts}
    artifact, plan, is_current, problem = None, None, False, None
    try:
        artifact = workspace.store.open(step.address(name))
        is_current = mixture_artifact(declared, known_inputs(read), workspace, step).is_current and not problems.intersection(parts)
    except StoreAccessError as found:
        problem = str(found)
    with suppress(StoreError):  # check reports the damage
        plan = plan_of(artifact) if artifact else None
    if not is_current and not problem and (failure := Failures(workspace.store).last(name)):
        problem = failure.reason
    samples = plan.current.drawn if plan else 0
    return MixtureStatus(
        name=name,
        state="current" if is_current else "failed" if problem else "stale" if artifact else "never built",
        samples=samples,
        tokens=samples * plan.seq_len if plan else 0,
        fingerprint=artifact.fingerprint if artifact else None,
        last_built=_time(artifact.written if artifact else None),
        problem=problem,
        skipped=tuple(sorted(skipped)),
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
