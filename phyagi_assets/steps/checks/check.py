"""The outcome of one check, and the check that every version has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from phyagi_assets.formatting import short
from phyagi_assets.store.local import Artifact

AS_WRITTEN = "as_written"

SOUND, WITHIN_LIMITS = "sound", "within_limits"
"""The checks that a step has: one of everything that is looked at would take longer to record than a small partition takes to build."""
FILES = "The files are what was written, by their checksums"
FILES_AND_IDS = f"{FILES}; every id is one of the tokenizer's, and every document ends with the EOS where that is declared"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What was looked at, and what came of it."""

    name: str
    passed: bool
    found: str
    """In a sentence, without a full stop."""
    numbers: Mapping[str, int | float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f'check "{self.name}" {"passed" if self.passed else "failed"}: {self.found}'


Examine = Callable[[Artifact], Sequence[Check]]
"""Looks at what is in a version whose files are what was written."""


def check_found(artifact: Artifact, examine: Examine) -> list[Check]:
    """Check a version that was there. Where its files are damaged, that is all that is said of it."""
    damage = artifact.manifest.damage(artifact.path, checksums=True)
    if damage:
        return [Check(name=AS_WRITTEN, passed=False, found="; ".join(damage), numbers={"damaged": len(damage)})]
    return [_as_written(artifact, "are what was written"), *examine(artifact)]


def check_written(artifact: Artifact, examine: Examine, damage: str) -> list[Check]:
    """Check a version that was written a moment ago, and read back for its checksums.

    Parameters
    ----------
    damage
        What was found of the version that it takes the place of; empty where there was none.
    """
    found = "were written and read back"
    return [_as_written(artifact, f"{found}, because of damage: {damage}" if damage else found), *examine(artifact)]


def _as_written(artifact: Artifact, found: str) -> Check:
    files = artifact.manifest.files.values()
    size = sum(file.bytes for file in files)
    numbers = {"files": len(files), "bytes": size, "damaged": 0}
    return Check(name=AS_WRITTEN, passed=True, found=f"the files ({len(files)}, {short(size)}B) {found}", numbers=numbers)
