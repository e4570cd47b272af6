"""The state of a reader of a mixture: the next position, and the plan and the split in which it counts."""

from collections.abc import Mapping
from typing import Any

from phyagi_assets.formats.plan import Plan
from phyagi_assets.reading.numbers import checked_int


def state_at(plan: Plan, split: str, position: int) -> dict[str, Any]:
    """Return the state of a reader of a split whose next position is the given one."""
    return {"position": position, "plan": plan.fingerprint, "mixture": plan.name, "split": split}


def position_of(state: Mapping[str, Any], plan: Plan, split: str) -> int:
    """Return the position of a state. States of earlier releases name no split, and count as states of this one.

    Raises
    ------
    ValueError
        The value is not a state of a mixture, or it is that of another split, or its plan has another order up to the position than this
        plan.
    """
    try:
        fingerprint, position = state["plan"], checked_int("position", state["position"])
    except (KeyError, TypeError, ValueError) as problem:
        found = f"it has no {problem}" if isinstance(problem, KeyError) else problem if isinstance(state, Mapping) else f"it is {state!r}"
        raise ValueError(f"not a state of a mixture, as state_dict returns it: {found}") from None
    if not plan.agrees(fingerprint, position):
        raise ValueError(
            f"the state is from plan {fingerprint} of mixture {state.get('mixture')!r} at position {position}, but this is plan "
            f"{plan.fingerprint} of {plan.name!r}, which has another order up to that position; open the plan of the state"
        )
    if (saved := state.get("split", split)) != split:
        raise ValueError(
            f"split: the state is from {saved!r} of mixture {state.get('mixture')!r}, and is loaded by a reader of {split!r}, which has "
            f"other samples; load it into a reader of {saved!r}"
        )
    return position
