"""Keep a code location and its runs in agreement about the declarations.

The code location reads the declarations when it is loaded. The process of a run reads them again, later. So a sensor or schedule requests
no runs while a file differs from the declaration that was loaded. A run is tagged with the digests of the declarations for which it was
requested, and fails before it builds from other declarations.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping

import dagster as dg
from dagster._core.storage.tags import PARENT_RUN_ID_TAG

from phyagi_assets.declare.catalog import Broken, Catalog, Corpus, Mixture, read_catalog
from phyagi_assets.errors import DeclarationError
from phyagi_assets.orchestration.names import HIDDEN

DECLARED_TAG = f"{HIDDEN}declared"
"""Tag of a run: the digests of the declarations for which it was requested, by name, as JSON."""

RELOAD = "reload the code location (Deployment, Reload)"


class EditedError(DeclarationError):
    """A declaration was edited after the code location that requested the run was loaded. A run after a reload may succeed."""


def declared_tag(declared: Iterable[Corpus | Mixture]) -> dict[str, str]:
    """Return the tag for a run that builds the declared corpora and mixtures."""
    return {DECLARED_TAG: json.dumps({each.config.name: each.digest for each in declared}, sort_keys=True)}


def require_as_requested(tags: Mapping[str, str], declared: Corpus | Mixture) -> None:
    """Check that a declaration is the one for which the run was requested.

    Parameters
    ----------
    tags
        Tags of the run. Without a valid `DECLARED_TAG`, any declaration is accepted. A re-executed run inherits the tag, and builds from
        the current declaration.
    """
    if PARENT_RUN_ID_TAG in tags:
        return
    try:
        requested = json.loads(tags.get(DECLARED_TAG, "{}"))
    except ValueError:  # a tag written by a user requires nothing
        return
    if isinstance(requested, dict) and requested.get(declared.config.name, declared.digest) != declared.digest:
        raise EditedError(declared.path, f"was edited after the code location that requested this run was loaded; {RELOAD}")


def change_since_load(declared: Corpus | Mixture) -> str:
    """Return the reason not to request runs if a file no longer holds the declaration that was loaded; empty if it does."""
    if change := declared.changed_since_load():
        return f"{change}: the declaration changed since the code location was loaded; nothing is built until you {RELOAD}"
    return ""


def placeholder(broken: Broken) -> dg.AssetSpec:
    """Return the asset that shows a broken declaration in the UI."""
    group = re.sub(r"[^A-Za-z0-9_]", "_", broken.name) or "_"
    reason = str(broken.reason).removeprefix(f"{broken.path.parent}{os.sep}")  # the catalog shows the first words only
    return dg.AssetSpec(
        [group, f"broken_{broken.path.parent.name}_{re.sub(r'[^A-Za-z0-9_]', '_', broken.path.name)}"],
        group_name=group,
        kinds={"error"},
        description=f"{reason}\n\nThis declaration is broken, and nothing of it is built. Correct it, then {RELOAD}.",
    )


def declarations_sensor(catalog: Catalog) -> dg.SensorDefinition:
    """Return a sensor whose ticks fail while declarations are broken or differ from what was loaded."""

    @dg.sensor(
        name="declarations",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fails while a declaration is broken, or was added, removed or edited after the code location was loaded.",
    )
    def declarations(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        del context
        now, _ = read_catalog(catalog.data)
        problems = [str(broken.reason) for broken in now.broken]
        old, new = _digests(catalog), _digests(now)
        broken_now = {broken.name for broken in now.broken}
        changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name) and name not in broken_now)
        if changed:
            problems.append(f"changed since the code location was loaded: {', '.join(changed)}; {RELOAD}")
        if problems:
            raise dg.Failure(description="\n".join(problems))
        return dg.SkipReason("The declarations are those that were loaded.")

    return declarations


def _digests(catalog: Catalog) -> dict[str, str]:
    declared: list[Corpus | Mixture] = [*catalog.corpora.values(), *catalog.mixtures.values()]
    return {each.config.name: each.digest for each in declared}
