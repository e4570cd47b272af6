"""Facts about the plan of a mixture: its composition, and how its corpora become samples."""

from collections.abc import Sequence

from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.plan_file import plan_of
from phyagi_assets.formatting import counted
from phyagi_assets.order.composition import Component, composition, largest_deviation, segment_corpora
from phyagi_assets.steps.facts import Bars, Facts, Rows
from phyagi_assets.steps.step import Built, built_facts

_PLOTTED = 16
"""Largest number of corpora whose numbers are separate facts."""


def mixture_facts(built: Built) -> Facts:
    """Return the facts about the plan of a mixture."""
    plan = plan_of(built.artifact)
    components = composition(plan)
    corpora: list[dict[str, str | int | float]] = [
        {
            "corpus": component.corpus,
            "declared": component.amount,
            "share, %": round(100 * component.part, 2),
            "epochs": round(component.epochs, 3),
            "in an epoch": component.drawn,
            **{f"{split} tokens": plan.total(split, "tokens", source) for split in SPLITS if plan.total(split, "tokens")},
            "partitions": component.partitions,
            "training samples": component.samples,
            "training tokens in no sample": component.uncovered,
            **packing_facts(component, plan),
        }
        for component, source in zip(components, plan.current.sources, strict=True)
    ]
    where = f"from position {plan.current.start:,} on" if len(plan.segments) > 1 else "of the mixture"
    drawn = [(component.corpus, component.drawn) for component in components]
    documents, tokens = (sum(plan.total(split, count) for split in SPLITS) for count in ("documents", "tokens"))
    return {
        "documents": documents,
        "tokens": tokens,
        **{f"{split} tokens": total for split in SPLITS[1:] if (total := plan.total(split, "tokens"))},
        "samples in an epoch": plan.current.drawn,
        "composition": Bars(title=f"samples in an epoch {where}", bars=drawn),
        "corpora": Rows(rows=corpora),
        **_by_corpus(components),
        "training tokens in no sample": plan.uncovered(),
        **padding_facts(plan),
        "order": _order(plan),
        "segments": len(plan.segments),
        **({"order of segments": Rows(rows=_segments(plan))} if len(plan.segments) > 1 else {}),
        **({"evaluation only": ", ".join(plan.corpora[number].name for number in plan.evaluation)} if plan.evaluation else {}),
        "largest deviation from the weights, samples": round(largest_deviation(plan), 3),
        "sequence length": plan.seq_len,
        "dtype": plan.dtype,
        "engine": built.artifact.manifest.details.get("engine", ""),
        **built_facts(built),
    }


def _by_corpus(components: Sequence[Component]) -> Facts:
    """Return the numbers of the corpora with the largest shares one by one, so that Dagster plots them over time."""
    largest = sorted(components, key=lambda component: -component.drawn)[:_PLOTTED]
    return {
        **{f"{component.corpus}: share, %": round(100 * component.part, 2) for component in largest},
        **{f"{component.corpus}: epochs": round(component.epochs, 3) for component in largest},
        **{f"{component.corpus}: training tokens": component.tokens for component in largest},
    }


def packing_facts(component: Component, plan: Plan) -> dict[str, str | int | float]:
    """Return how a corpus becomes samples, and how full these are, if the plan packs any corpus."""
    if not any(source.packed for source in plan.current.sources):
        return {}
    fill = "" if component.fill is None else f"{100 * component.fill:.2f} %"
    return {"packing": "concat" if component.fill is None else "best_fit", "fill": fill}


def padding_facts(plan: Plan) -> dict[str, str]:
    """Return the amount of padding in the packed training samples, if there are any."""
    samples = sum(source.samples for source in plan.current.sources if source.packed)
    if not samples:
        return {}
    padding, size = plan.padding(), samples * plan.seq_len
    return {"padding of packed samples": f"{padding:,} of {counted(size, 'token')} ({100 * padding / size:.2f} %)"}


def _order(plan: Plan) -> str:
    stages = f"{len(plan.segments)} segments" if len(plan.segments) > 1 else "one order"
    if not plan.ancestors:
        return f"{stages} from position 0 on"
    earlier = plan.ancestors[0]
    return f"changed from position {earlier.agrees_until:,} on; before it, as plan {earlier.fingerprint} has it"


def _segments(plan: Plan) -> list[dict[str, str | int | float]]:
    return [
        {"from position": segment.start, "from token": segment.start * plan.seq_len, "corpora": segment_corpora(plan, segment)}
        for segment in plan.segments
    ]
