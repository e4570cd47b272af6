"""Find the artifacts that a command would build, and the reasons, without building or writing anything."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from phyagi_assets.build.available import without_failed
from phyagi_assets.build.examine import known_inputs
from phyagi_assets.build.reasons import changes
from phyagi_assets.build.selection import Selection
from phyagi_assets.build.staleness import ExpectedArtifact, fingerprint_at, mixture_artifact, partition_artifacts
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.inspection.report import Record, Report
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.step import Scope, Workspace
from phyagi_assets.tokenizers.prepared import tokenizer_label

NEVER_BUILT, NEW_PARTITION = "never built", "new partition"


class StaleStep(Record):
    """A step that would be built."""

    step: str
    """Name of the step."""
    reasons: tuple[str, ...]
    """Why, one sentence each; empty if only the step before it changes."""
    is_stored: bool
    """Whether the store already has the version, so that it is published again without being built."""


class Stale(Record):
    """A partition or a mixture that would be built."""

    name: str
    """Name of the partition, as ``corpus/partition``, or of the mixture."""
    steps: tuple[StaleStep, ...]
    """The steps, in the order of the flow."""
    bytes: int
    """Size of the source files, in bytes; 0 for a mixture."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons for all steps, each once."""
        return tuple(dict.fromkeys(reason for step in self.steps for reason in step.reasons))


class DryRunReport(Report):
    """The artifacts that a command would build, and the reasons."""

    report: Literal["dry-run"] = "dry-run"
    version: Literal[1] = 1
    stale: tuple[Stale, ...]
    """The partitions and mixtures that would be built, in order."""
    current: int
    """Number of partitions and mixtures that are up to date."""
    failed: dict[str, str]
    """Reasons why partitions, corpora and mixtures would fail, by name, as far as they are known before the build."""


def dry_run(selection: Selection, workspace: Workspace) -> DryRunReport:
    """Find the artifacts that a command would build, and the reasons.

    Files of partitions that were never built are not read.

    Parameters
    ----------
    workspace
        The data folder and the store. Digests of changed files and prepared tokenizers are written to the store; see
        `phyagi_assets.store.read_only.read_only`.
    """
    found: list[Stale] = []
    failed: dict[str, str] = {}
    current = 0
    caches: dict[str, dict[str, str | None]] = {}
    for name, listed in selection.listings(workspace.sources):
        if isinstance(listed, PhyagiAssetsError):
            failed[name] = str(listed)
            continue
        caches[name] = {}
        first = selection.flow.steps[0]
        is_built = any(fingerprint_at(first.address(name, key), workspace.store) for key in listed.partitions)
        word = NEW_PARTITION if is_built else NEVER_BUILT
        for key, partition in listed.chosen.items():
            try:
                stale, caches[name][key] = _partition(listed.corpus, partition, workspace, selection.flow, word)
            except PhyagiAssetsError as problem:
                failed[f"{name}/{key}"] = str(problem)
                continue
            found += [stale] if stale else []
            current += stale is None
    for name, declared in selection.catalog.mixtures.items():
        try:
            _require_available(declared, caches, failed)
            steps = _mixture(declared, {part: caches[part] for part in declared.config.corpora}, workspace, selection.flow)
        except PhyagiAssetsError as problem:
            failed[name] = str(problem)
            continue
        found += [Stale(name=name, steps=steps, bytes=0)] if steps else []
        current += not steps
    return DryRunReport(stale=tuple(found), current=current, failed=failed)


def _require_available(declared: Mixture, caches: Mapping[str, Mapping[str, str | None]], failed: Collection[str]) -> None:
    """Raise an error if a mixture cannot be built without the partitions and corpora that have failed."""
    parts = declared.config.corpora
    if broken := sorted(name for name in failed if name.partition("/")[0] in parts):
        lasting = [name for name in broken if "/" in name]
        failed_keys = {part: [name.removeprefix(f"{part}/") for name in lasting if name.startswith(f"{part}/")] for part in parts}
        keys = {part: [*caches.get(part, {}), *failed_keys[part]] for part in parts}
        without_failed(declared, keys, broken, lasting)


def _partition(corpus: Corpus, partition: Partition, workspace: Workspace, flow: Flow, word: str) -> tuple[Stale | None, str | None]:
    """Return the stale steps of a partition, None if there are none, and the expected fingerprint of its last step if it is known."""
    steps, store, name = list(flow.in_scope(Scope.PARTITION)), workspace.store, f"{corpus.config.name}/{partition.key}"
    if not any(fingerprint_at(step.address(corpus.config.name, partition.key), store) for step in steps):
        never = [StaleStep(step=step.name, reasons=() if i else (word,), is_stored=False) for i, step in enumerate(steps)]
        return Stale(name=name, steps=tuple(never), bytes=partition.bytes), None
    artifacts = partition_artifacts(corpus, partition, workspace, flow)
    stale = [
        StaleStep(
            step=artifact.step,
            reasons=tuple(_reasons(corpus, partition, artifact, workspace, artifacts, flow)),
            is_stored=artifact.fingerprint is not None
            and store.find(artifact.address, artifact.fingerprint, flow[artifact.step].holds(corpus, partition, workspace)) is not None,
        )
        for artifact in artifacts
        if not artifact.is_current
    ]
    return Stale(name=name, steps=tuple(stale), bytes=partition.bytes) if stale else None, artifacts[-1].fingerprint


def _reasons(
    corpus: Corpus,
    partition: Partition,
    artifact: ExpectedArtifact,
    workspace: Workspace,
    artifacts: Sequence[ExpectedArtifact],
    flow: Flow,
) -> list[str]:
    store = workspace.store
    published = store.open(artifact.address)
    if artifact.manifest is None:  # the content of remote files is unknown
        names = flow[artifact.step].unread(corpus, partition, workspace)
        return [f"source file {name} is new or changed, and is fetched" for name in list(names)[:5]]
    if published is None:
        return ["damaged: its manifest cannot be read"] if store.published_fingerprint(artifact.address) else [NEVER_BUILT]
    if published.fingerprint == artifact.fingerprint:
        return [f"damaged: {found}" for found in published.damage()[:1]] or ["its source files were moved or are incomplete"]
    found = changes(artifact.manifest, published.manifest, tokenizer_label(corpus.config.tokenizer))
    for other in artifacts:
        before = published.manifest.inputs.get(other.step)
        if other.is_current and before is not None and before != other.fingerprint and other.manifest:
            old = store.find(other.address, before)  # an earlier command built the step before this one, and then stopped
            found += (changes(other.manifest, old.manifest) if old else []) or [f"{other.step} changed"]
    return found


def _mixture(declared: Mixture, caches: Mapping[str, Mapping[str, str | None]], workspace: Workspace, flow: Flow) -> tuple[StaleStep, ...]:
    stale = []
    for step in flow.in_scope(Scope.MIXTURE):
        artifact = mixture_artifact(declared, known_inputs(caches), workspace, step)
        if artifact.is_current:
            continue
        published = workspace.store.open(artifact.address)
        if published is None or artifact.manifest is None:
            reasons = [NEVER_BUILT]
        else:
            reasons = changes(artifact.manifest, published.manifest) or [f"damaged: {found}" for found in published.damage()[:1]]
        stale.append(StaleStep(step=step.name, reasons=tuple(reasons), is_stored=False))
    return tuple(stale)
