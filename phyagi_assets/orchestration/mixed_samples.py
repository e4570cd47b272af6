"""The first samples of a mixture as text, for people to check in the UI."""

import logging
from pathlib import Path

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.inspection.explain import ExplainedSample, open_explainer
from phyagi_assets.steps.facts import Facts, Rows, Text
from phyagi_assets.steps.step import Built, Step
from phyagi_assets.store.base import Store

logger = logging.getLogger(__name__)

_BEFORE = "corpora"
"""Name of the fact after which samples are shown."""
_SAMPLES = 8
"""Number of samples whose beginnings are shown."""
_BEGINNING, _WHOLE = 60, 800
"""Largest number of characters of the beginning of a sample, and of the sample that is shown as a whole."""


def mixture_facts(name: str, step: Step, built: Built, store: Store) -> Facts:
    """Return the facts about a plan with the beginnings of its first samples, and the first sample as a whole.

    The samples of a plan that continues the order of another one begin where the orders differ. Samples are left out if the store is in a
    bucket, because whole caches would be fetched for them, and if they cannot be read.
    """
    facts = step.facts(built)
    if store.is_remote:
        return facts
    try:
        explainer = open_explainer(Path(store.place(name)) / step.name, Path(store.place(name)).parent)
        plan = explainer.plan
        start = plan.ancestors[0].agrees_until if plan.ancestors else 0
        samples = list(explainer.explain(range(start, start + min(_SAMPLES, plan.current.drawn))))
    except (PhyagiAssetsError, OSError) as problem:
        logger.warning("%s: samples are not shown: %s", name, problem)
        return facts
    shown: Facts = {"first samples": Rows(rows=[_row(sample) for sample in samples]), "decoded sample": Text(text=_marked(samples[0]))}
    names = list(facts)
    before = names[: names.index(_BEFORE) + 1] if _BEFORE in facts else names
    return {**{fact: facts[fact] for fact in before}, **shown, **facts}


def _row(sample: ExplainedSample) -> dict[str, str | int | float]:
    text = " ".join("".join(document.marked for document in sample.documents).split())
    return {
        "position": sample.position,
        "corpus": sample.corpus,
        "partition": sample.partition,
        "documents": len(sample.documents),
        "text": text if len(text) <= _BEGINNING else f"{text[:_BEGINNING]}…",
    }


def _marked(sample: ExplainedSample) -> str:
    """Return the text of a sample, with a line before each document that names its origin."""
    room, parts = _WHOLE // max(1, min(4, len(sample.documents))), []
    for document in sample.documents[:4]:
        text = document.marked if len(document.marked) <= room else f"{document.marked[:room]}…"
        parts.append(f"── {sample.corpus}/{document.partition}, {document.file}, row {document.row + 1:,} ──\n{text}")
    more = len(sample.documents) - 4
    return "\n".join([*parts, *([f"── and {more} more ──"] if more > 0 else [])])
