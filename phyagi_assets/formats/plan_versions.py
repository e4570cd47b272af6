"""Find the versions that the plans of mixtures need."""

from collections.abc import Sequence

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan import PLAN, Plan
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.store.base import Address, Store, Version, is_part

_STEP = "mixed_dataset"


def versions_of_plan(plan: Plan) -> set[Version]:
    """Return the versions of caches that a plan reads, including that of its tokenizer."""
    return {version for path in plan.paths() if (version := Version.in_path(path))}


def versions_of_mixtures(store: Store, mixtures: Sequence[str]) -> set[Version]:
    """Return the published plans of mixtures, and the versions that they name.

    Raises
    ------
    StoreError
        A mixture is not in the store, or its plan cannot be read.
    """
    found: set[Version] = set()
    for mixture in mixtures:
        artifact = store.open(f"{mixture}/{_STEP}", intact=True) if is_part(mixture) else None
        if artifact is None:
            there = ", ".join(address.name for address in store.list() if address.step == _STEP) or "none"
            raise StoreError(f"{mixture!r} is not a mixture materialized in {store} (there: {there})")
        found.add(Version(Address(artifact.address), artifact.fingerprint))
        found |= versions_of_plan(read_plan(artifact.folder() / PLAN))
    return found
