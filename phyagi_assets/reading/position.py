"""The state of a reader of a mixture: the next position, and the plan and the split in which it counts."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from phyagi_assets.formats.plan import Plan
from phyagi_assets.reading.numbers import checked_int


def state_at(plan: Plan, split: str, position: int) -> dict[str, Any]:
    """Return the state of a reader of a split whose next position is the given one."""
    state = {"position": position, "plan": plan.fingerprint, "mixture": plan.name, "split": split}
    return state if split == "train" else {**state, "corpus": _only_corpus(plan, split)}


def _only_corpus(plan: Plan, split: str) -> str | None:
    """Return the only corpus with samples in a split of a plan; None if several corpora have samples there."""
    names = (plan.corpora[source.corpus].name for source in plan.current.sources if plan.total(split, "samples", source))
    first, *others = islice(names, 2)  # a reader has samples
    return None if others else first


def position_of(state: Mapping[str, Any], plan: Plan, split: str) -> int:
    """Return the position of a state. A split or corpus that a state of an earlier release does not name is that of this reader.

    Raises
    ------
    ValueError
        The value is not a state of a mixture, or it is that of another split or of other corpora, or its plan has another order up to the
        position than this plan.
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
    is_of_this_plan = fingerprint == plan.fingerprint  # a plan that continues it may have further corpora
    if split != "train" and is_of_this_plan and "corpus" in state and state["corpus"] != (corpus := _only_corpus(plan, split)):
        raise ValueError(
            f"corpus: the state is from the {split} samples of {_of(state['corpus'])}, and is loaded by a reader of those of "
            f"{_of(corpus)}; load it into a reader of the same corpora"
        )
    return position


def _of(corpus: Any) -> str:
    return "several corpora" if corpus is None else f"the corpus {corpus!r}"
