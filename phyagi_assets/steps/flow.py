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
    """Steps in the order of the flow: each step comes after the step that it reads.

    Raises
    ------
    ValueError
        Two steps have the same name, or a step reads a step that does not come before it or has a wider scope.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        scopes = list(Scope)
        before: dict[str, Step] = {}
        for step in self.steps:
            if step.name in before:
                raise ValueError(f"step {step.name!r}: two steps have this name")
            if step.input is not None and step.input not in before:
                raise ValueError(f"step {step.name!r}: reads {step.input!r}, which does not come before it")
            if step.input is not None and scopes.index(before[step.input].scope) > scopes.index(step.scope):
                raise ValueError(f"step {step.name!r}: is built per {step.scope.value} and reads {step.input!r}, which has a wider scope")
            before[step.name] = step

    def of(self, scope: Scope) -> Iterator[Step]:
        """Return the steps of a scope, in the order of the flow."""
        return (step for step in self.steps if step.scope is scope)

    def __getitem__(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)

    def find(self, name: str) -> Step | None:
        """Return the step with a name, or None if no step has the name."""
        return next((step for step in self.steps if step.name == name), None)


FLOW = Flow(steps=(RAW, TOKENIZE, CACHE, MIXTURE))
"""The steps of this package."""
