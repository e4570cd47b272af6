"""The outcome of one check, and the check of the files that every examined version gets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from phyagi_assets.formatting import short_size
from phyagi_assets.store.artifact import Artifact

AS_WRITTEN = "as_written"

SOUND, WITHIN_LIMITS = "sound", "within_limits"
"""Names of the checks of a step in Dagster. Each combines several checks of this package: recording every one on its own would take longer
than building a small partition."""
FILES = "The files match their checksums"
FILES_AND_IDS = f"{FILES}; every id is in the tokenizer's vocabulary, and every document ends with the EOS if that is declared"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """The outcome of one check."""

    name: str
    passed: bool
    found: str
    """Result in one sentence, without a full stop."""
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    """Numbers behind the result, by name."""
    part_of: str = SOUND
    """Name of the check of the step in Dagster that this one is a part of."""

    @classmethod
    def of(cls, name: str, problems: Sequence[str], otherwise: str, numbers: Mapping[str, int | float]) -> "Check":
        """Return the outcome of a check: failed if there are problems, else passed with the result `otherwise`."""
        return cls(name=name, passed=not problems, found="; ".join(problems) or otherwise, numbers=numbers)

    def __str__(self) -> str:
        return f'check "{self.name}" {"passed" if self.passed else "failed"}: {self.found}'


Examine = Callable[[Artifact], Sequence[Check]]
"""Checks the contents of a version whose files are intact."""


def check_found(artifact: Artifact, examine: Examine) -> list[Check]:
    """Check the files of an existing version and, if they are intact, its contents."""
    damage = artifact.damage(checksums=True)
    if damage:
        return [Check.of(AS_WRITTEN, damage, "", {"damaged": len(damage)})]
    return [_as_written(artifact, "are what was written"), *examine(artifact)]


def check_written(artifact: Artifact, examine: Examine, damage: str) -> list[Check]:
    """Check a version that was just written and read back for its checksums.

    Parameters
    ----------
    damage
        Damage of the version that it replaces; empty if it replaces none.
    """
    found = "were written and read back"
    return [_as_written(artifact, f"{found}, because of damage: {damage}" if damage else found), *examine(artifact)]


def _as_written(artifact: Artifact, found: str) -> Check:
    files = artifact.manifest.files.values()
    size = sum(file.bytes for file in files)
    return Check.of(
        AS_WRITTEN, [], f"the files ({len(files)}, {short_size(size)}) {found}", {"files": len(files), "bytes": size, "damaged": 0}
    )
