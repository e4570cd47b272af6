"""Facts about the token ids of a partition: how many there are, how long the documents are, and which rows were left out."""

from collections.abc import Mapping

from phyagi_assets.formats.token_rows import TRAINED
from phyagi_assets.formats.trained_bits import shown_share
from phyagi_assets.steps.facts import Facts, Rows
from phyagi_assets.steps.lengths import length_facts, row_lengths
from phyagi_assets.steps.step import Built, amounts, built_facts
from phyagi_assets.store.manifest import Manifest

SKIPPED = "skipped"
"""Detail of the manifest that lists the files of which rows were left out."""
_SHOWN = 100
"""Largest number of files with left-out rows that the facts list."""


def skipped_rows(manifest: Manifest) -> list[dict[str, str | int | float]]:
    """Return one table row per file from which rows were left out."""
    return [
        {"file": file, "rows left out": skipped["rows"], "of rows": skipped["of"], "the first": skipped["first"]}
        for file, skipped in manifest.details.get(SKIPPED, {}).items()
    ]


def token_facts(built: Built) -> Facts:
    manifest = built.artifact.manifest
    counts, skipped = manifest.counts, skipped_rows(manifest)
    return {
        **amounts(counts["documents"], counts["tokens"], counts["text_bytes"], built.seconds),
        **_rates(counts, built.seconds),
        **length_facts(row_lengths(built.artifact) if built.lengths is None else built.lengths),
        **({"trained on": shown_share(counts[TRAINED], counts["tokens"])} if TRAINED in counts else {}),
        "empty documents": counts["empty"],
        "invalid rows left out": counts["invalid"],
        **({"files with rows left out": Rows(rows=skipped[:_SHOWN])} if skipped else {}),
        "removed documents left out": counts["removed"],
        "content": manifest.details["content"],
        "dtype": manifest.details["dtype"],
        "engine": manifest.produced_with["engine"],
        **built_facts(built),
    }


def _rates(counts: Mapping[str, int], seconds: float) -> Facts:
    """Return the size of a token in the text, and the speed of encoding if the version was built."""
    documents, tokens, size = (counts[name] for name in ("documents", "tokens", "text_bytes"))
    ratio = {"bytes per token": round(size / tokens, 3)} if tokens else {}
    speed = {"documents per second": round(documents / seconds, 1), "MB per second": round(size / seconds / 1e6, 2)} if seconds else {}
    return {**ratio, **speed}
