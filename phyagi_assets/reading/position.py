"""The state of a reader of a mixture: the next position, and the plan in which it counts."""

from collections.abc import Mapping
from typing import Any

from phyagi_assets.formats.plan import Plan
from phyagi_assets.reading.numbers import checked_int


def state_at(plan: Plan, position: int) -> dict[str, Any]:
    """Return the state of a reader whose next position is the given one."""
    return {"position": position, "plan": plan.fingerprint, "mixture": plan.name}


def position_of(state: Mapping[str, Any], plan: Plan) -> int:
    """Return the position of a state.

    Raises
    ------
    ValueError
        The value is not a state of a mixture, or its plan has another order up to the position than this plan.
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
    return position
