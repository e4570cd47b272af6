"""Versions of a mixture's plan: the expected one, and whether the published one is current."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from phyagi_assets.declare.catalog import Mixture
from phyagi_assets.declare.mixture_schema import MixtureConfig, MixturePart
from phyagi_assets.formats.packed_index import index_version
from phyagi_assets.formats.plan import STEP, Window
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import Manifest

CODE_VERSION = "3"
APPENDED = "appended"
"""Setting of a plan that continues an earlier plan: the fingerprint of that plan, and the position at which the new segment starts."""
STAGES = "stages"
"""Setting of a plan with stages, which takes the place of the setting ``datasets``."""
_CURRENT_CODE_VERSIONS = (CODE_VERSION, "2")
"""Code versions of published plans that are not rebuilt as long as their inputs and settings stay the same."""
_BY_DEFAULT = "packed_by_default"
"""Detail of an expected manifest: the corpora that are packed by default."""


def mixture_address(mixture: Mixture) -> str:
    """Return the address of a mixture's plan."""
    return f"{mixture.config.name}/{STEP}"


def expected_mixture(mixture: Mixture, _workspace: Workspace, caches: Mapping[str, Mapping[str, str]]) -> Manifest:
    """Return the expected manifest of a mixture's plan, given the fingerprints of its caches by corpus and partition."""
    config = mixture.config
    settings: dict[str, Any] = {
        "seq_len": config.seq_len,
        "seed": config.seed,
        "concat": config.concat,
        "shuffle": asdict(shuffle) if isinstance(shuffle := planned_shuffle(config), Window) else shuffle,
    }
    if config.stages is None:
        settings["datasets"] = _drawn(config, config.parts)
    else:
        settings[STAGES] = [{"start": start, "datasets": _drawn(config, parts)} for start, parts in config.timeline]
    if config.evaluation:
        settings["evaluation"] = list(config.evaluation)
    inputs = {corpus: dict(fingerprints) for corpus, fingerprints in caches.items()}
    expected = Manifest.expected(STEP, code_version=CODE_VERSION, inputs=inputs, settings=settings)
    by_default = [part.corpus for part in config.parts if config.is_packed_by_default(part)]
    return replace(expected, details={_BY_DEFAULT: by_default}) if by_default else expected


def planned_shuffle(config: MixtureConfig) -> bool | Window:
    return config.shuffle if isinstance(config.shuffle, bool) else Window(window=config.shuffle.window)


def _drawn(config: MixtureConfig, parts: Sequence[MixturePart]) -> list[dict[str, Any]]:
    """Return the settings that determine how often each corpus of a stage is drawn, and how it becomes samples."""
    return [
        {
            **({"corpus": part.corpus, "share": part.share} if part.share else {"corpus": part.corpus, "weight": part.weight}),
            **({"packing": packing} if (packing := config.packing_of(part)) != "concat" else {}),
        }
        for part in parts
    ]


def published_mixture(expected: Manifest, address: str, store: Store, _holding: Collection[str] = ()) -> Artifact | None:
    """Return the published plan if its current segment is the expected one; earlier segments are ignored.

    A plan is not current if the store lacks an index of its packed samples.
    """
    published = published_as(expected, address, store)
    return published if published and _has_indices(published.manifest, store) else None


def published_as(expected: Manifest, address: str, store: Store) -> Artifact | None:
    """Return the published plan if its inputs and settings are the expected ones."""
    published = store.open(address, intact=True)
    if published is None:
        return None
    settings = {key: value for key, value in published.manifest.settings.items() if key != APPENDED}
    same = published.manifest.inputs == expected.inputs and settings in (expected.settings, _before_packing(expected))
    return with_version_path(published, store) if same and published.manifest.code_version in _CURRENT_CODE_VERSIONS else None


def packed_corpora(manifest: Manifest) -> list[str]:
    """Return the corpora that a plan packs, given its manifest."""
    settings = manifest.settings
    stages = [settings["datasets"]] if "datasets" in settings else [stage["datasets"] for stage in settings[STAGES]]
    return list(dict.fromkeys(part["corpus"] for parts in stages for part in parts if part.get("packing") == "best_fit"))


def _has_indices(manifest: Manifest, store: Store) -> bool:
    """Return whether the indices of the packed corpora of a plan are in the store."""
    versions = (
        index_version(corpus, key, fingerprint, manifest.settings["seq_len"])
        for corpus in packed_corpora(manifest)
        for key, fingerprint in manifest.inputs[corpus].items()
    )
    return all(store.find(version.address, version.fingerprint) is not None for version in versions)


def _before_packing(expected: Manifest) -> Mapping[str, Any]:
    """Return the settings that releases without packing recorded; such a plan stays current unless packing is declared."""
    by_default = expected.details.get(_BY_DEFAULT, ())
    if "datasets" not in expected.settings:  # no release had stages without packing
        return expected.settings
    parts = [
        {key: value for key, value in part.items() if key != "packing" or part["corpus"] not in by_default}
        for part in expected.settings["datasets"]
    ]
    return {**expected.settings, "datasets": parts}


def with_version_path(artifact: Artifact, store: Store) -> Artifact:
    """Return an artifact with its path in the store, which stays valid if the folder of its corpus or mixture is moved and linked."""
    place = store.version_path(artifact.address, artifact.fingerprint)
    return replace(artifact, path=place) if place.is_dir() else artifact
