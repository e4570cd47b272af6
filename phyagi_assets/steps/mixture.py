"""mixed_dataset: the plan of a mixture, which lists the caches to read and the order of their samples.

The plan copies no tokens. It refers to versions of the caches, not to their addresses, so that a training run reads the same bytes after a
refresh.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.formats.plan import PLAN, STEP
from phyagi_assets.formatting import LARGEST, counted, listed
from phyagi_assets.steps.cache import CACHE
from phyagi_assets.steps.checks.check import FILES, SOUND, check_found
from phyagi_assets.steps.checks.plans import check_plan
from phyagi_assets.steps.mixture_caches import Caches, check_alike, first_cache, packed_indices, partition_key, published_caches
from phyagi_assets.steps.mixture_facts import mixture_facts
from phyagi_assets.steps.mixture_plan import plan_mixture, plan_to_extend
from phyagi_assets.steps.mixture_version import (
    APPENDED,
    CODE_VERSION,
    expected_mixture,
    mixture_address,
    packed_corpora,
    published_as,
    published_mixture,
)
from phyagi_assets.steps.step import Built, Option, Scope, Step, Workspace, reuse_or_build
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import Manifest

logger = logging.getLogger(__name__)

LEFT_OUT, LEFT_OUT_LABEL = "left_out", "partitions left out"
"""Detail of a plan, and its label for people: the partitions (``corpus/partition``) that were left out when the plan was written, because
they had failed. It is not part of the fingerprint, which depends only on the partitions in the plan."""
AT_POSITION = "at_position"
_LISTED = 20
"""Largest number of partitions that a message lists."""


def build_mixture(
    mixture: Mixture,
    corpora: Mapping[str, Corpus],
    partitions: Mapping[str, Sequence[str]],
    workspace: Workspace,
    at_position: int | None = None,
    *,
    left_out: Sequence[str] = (),
) -> Built:
    """Write the plan of a mixture over the published caches.

    Parameters
    ----------
    partitions
        Keys of the partitions of each corpus that are read, by name of the corpus.
    at_position
        Position at which a new segment is appended to the published plan. By default, a new plan replaces the published one.
    left_out
        Partitions that are not read because they failed, as ``corpus/partition``; they are recorded and logged.

    Raises
    ------
    MissingArtifactsError
        The cache of a partition is missing or damaged.
    DeclarationError
        The corpora have different tokenizers or dtypes, a corpus has too few training tokens for one sample, the weights draw more samples
        than can be counted, the position is not positive, or the new segment does not fit the published plan.
    """
    if at_position is not None and not 0 < at_position <= LARGEST:
        raise mixture.error(f"{AT_POSITION} is {at_position:,}; use a position of training from 1 to {LARGEST:,}, or none for a new plan")
    if left_out:
        what = counted(len(left_out), "partition")
        logger.warning("%s leaves out %s that failed: %s", mixture.config.name, what, listed(left_out, _LISTED))
    store, address = workspace.store, mixture_address(mixture)
    with store.planning():  # keeps the versions that the plan names in place until it is published
        caches = published_caches(mixture, corpora, partitions, store)
        inputs = {corpus: {partition_key(cache): cache.fingerprint for cache in found} for corpus, found in caches.items()}
        expected = expected_mixture(mixture, workspace, inputs)
        check_alike(mixture, caches)
        published = published_as(expected, address, store)
        if published and (reused := _reused(published, mixture, caches, store)):
            if at_position is not None:
                logger.info(
                    "%s: no segment begins at position %s, because the published plan is up to date",
                    mixture.config.name,
                    f"{at_position:,}",
                )
            return reused
        at = None if published else at_position  # a damaged plan is written again as it was
        earlier = plan_to_extend(mixture, caches, store, at) if at is not None else None
        indices = packed_indices(mixture, caches, store)
        if earlier:
            appended = {**expected.settings, APPENDED: {"to": earlier.fingerprint, "at": at}}
            expected = Manifest.expected(STEP, code_version=CODE_VERSION, inputs=expected.inputs, settings=appended)

        def fill(folder: Path) -> Manifest:
            plan = plan_mixture(mixture, caches, indices, earlier, at=at or 0, fingerprint=expected.fingerprint, store=store)
            (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
            counts = {split: {count: plan.total(split, count) for count in ("documents", "tokens", "samples")} for split in SPLITS}
            return replace(
                expected,
                counts={split: split_counts for split, split_counts in counts.items() if split_counts["tokens"]},
                details=_details(caches, left_out),
            )

        return reuse_or_build(store, address, expected, fill, examine=lambda artifact: check_plan(artifact, store))


def _reused(published: Artifact, mixture: Mixture, caches: Caches, store: Store) -> Built | None:
    """Return the published plan for reuse; None if it is damaged and has to be written again."""
    if packed_corpora(published.manifest):
        packed_indices(mixture, caches, store)  # builds missing ones
    checks = check_found(published, lambda found: check_plan(found, store))
    if checks[0].passed or APPENDED in published.manifest.settings:  # earlier segments cannot be rebuilt from the current caches
        return Built(artifact=published, reused=True, seconds=0.0, checks=checks)
    return None


def _details(caches: Caches, left_out: Sequence[str]) -> dict[str, Any]:
    engines = {cache.manifest.details["engine"] for found in caches.values() for cache in found}
    tokenizer = first_cache(caches).manifest.details["tokenizer_fingerprint"]
    details: dict[str, Any] = {"engine": ", ".join(sorted(engines)), "tokenizer_fingerprint": tokenizer}
    return details | ({LEFT_OUT: list(left_out)} if left_out else {})


MIXTURE = Step(
    name=STEP,
    scope=Scope.MIXTURE,
    code_version=CODE_VERSION,
    input=CACHE.name,
    description="The plan of the mixture: its token arrays, their weights and their order.",
    kinds=frozenset({"json"}),
    expected=expected_mixture,
    build=build_mixture,
    published=published_mixture,
    checks={
        SOUND: f"{FILES}; every array of the plan exists and has the planned number of tokens; the samples of arrays and corpora add up.",
    },
    facts=mixture_facts,
    options={
        AT_POSITION: Option(
            default=None,
            description="Position of training from which the current corpora and weights apply; the order before it does not change. "
            "Without a position, a new plan replaces the old one.",
        )
    },
)
