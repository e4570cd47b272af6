"""The list of steps, in the order of the flow."""

from collections.abc import Iterator
from dataclasses import dataclass

from phyagi_assets.steps.cache import CACHE
from phyagi_assets.steps.mixture import MIXTURE
from phyagi_assets.steps.raw import RAW
from phyagi_assets.steps.step import Scope, Step
from phyagi_assets.steps.tokenize import TOKENIZE


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """Steps, each after the one that it reads.

    Raises
    ------
    ValueError
        Two steps have the same name, a step comes before the one that it reads, a step reads one that is not built per partition, or a
        step of a corpus or mixture reads none.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        before: dict[str, Step] = {}
        for step in self.steps:
            if step.name in before:
                raise ValueError(f"step {step.name!r}: two steps have this name")
            if step.input is not None and step.input not in before:
                raise ValueError(f"step {step.name!r}: reads {step.input!r}, which does not come before it")
            if step.input is not None and before[step.input].scope is not Scope.PARTITION:
                raise ValueError(f"step {step.name!r}: reads {step.input!r}, which is not built per partition")
            if step.input is None and step.scope is not Scope.PARTITION:
                raise ValueError(f"step {step.name!r}: is built per {step.scope.value} and reads no other step")
            before[step.name] = step

    def in_scope(self, scope: Scope) -> Iterator[Step]:
        """Return the steps with a scope."""
        return (step for step in self.steps if step.scope is scope)

    def __getitem__(self, name: str) -> Step:
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def find(self, name: str) -> Step | None:
        """Return the step with a name, or None if there is none."""
        return next((step for step in self.steps if step.name == name), None)


FLOW = Flow(steps=(RAW, TOKENIZE, CACHE, MIXTURE))
"""The steps of this package."""
