"""What a materialization shows in the UI."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from phyagi_assets.declare.schema import SPLITS
from phyagi_assets.formats.plan import PLAN, Plan
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formatting import short
from phyagi_assets.inspection.preview import preview
from phyagi_assets.inspection.statistics import Lengths, document_lengths
from phyagi_assets.orchestration.plots import bar_chart
from phyagi_assets.order.composition import composition, largest_deviation
from phyagi_assets.steps.step import Built
from phyagi_assets.steps.tokenize import SKIPPED

Metadata = dict[str, Any]


def raw_metadata(built: Built) -> Metadata:
    """Describe a raw_dataset partition."""
    manifest = built.artifact.manifest
    origins = manifest.details.get("origins", {})
    files = dg.MetadataValue.md("\n".join(f"- `{origins.get(name, name)}`" for name in list(manifest.inputs["files"])[:20]))
    return {**_common(built), "files": manifest.counts["files"], "bytes": manifest.counts["bytes"], "source files": files}


def tokenized_metadata(built: Built) -> Metadata:
    """Of a tokenized_arrow partition."""
    manifest = built.artifact.manifest
    return {
        **_common(built),
        **_lengths(built),
        **_amounts(manifest.counts["documents"], manifest.counts["tokens"], manifest.counts["text_bytes"], built.seconds),
        "empty documents": manifest.counts["empty"],
        "invalid rows left out": manifest.counts["invalid"],
        **_skipped(built),
        "removed documents left out": manifest.counts["removed"],
        "content": manifest.details["content"],
        "dtype": manifest.details["dtype"],
        "engine": manifest.produced_with["engine"],
    }


def _skipped(built: Built) -> Metadata:
    """The files with rows that were left out."""
    skipped = built.artifact.manifest.details.get(SKIPPED, {})
    rows = [{"file": file, "rows left out": of["rows"], "of rows": of["of"], "first": of["first"]} for file, of in skipped.items()]
    return {"files with rows left out": _table(rows[:100])} if rows else {}


def cache_metadata(built: Built) -> Metadata:
    """Of a numpy_cache partition."""
    manifest = built.artifact.manifest
    arrays = {f"{split}.npy": manifest.files[f"{split}.npy"].bytes for split in manifest.counts}
    documents, tokens = (sum(of[count] for of in manifest.counts.values()) for count in ("documents", "tokens"))
    common = {**_common(built), **_amounts(documents, tokens, sum(arrays.values()), built.seconds)}
    if not arrays:  # the partition is empty
        return common
    return {
        **common,
        **_lengths(built),
        "splits": _table([{"split": split, **of, "bytes": arrays[f"{split}.npy"]} for split, of in manifest.counts.items()]),
        "dtype": manifest.details["dtype"],
        "engine": manifest.details["engine"],
        "first tokens": dg.MetadataValue.md(f"```text\n{preview(built.artifact.path, tokens=64)}\n```"),
    }


def mixture_metadata(built: Built) -> Metadata:
    """Of a mixture's plan."""
    plan = read_plan(built.artifact.path / PLAN)
    components = composition(plan)
    corpora = [
        {
            "corpus": component.corpus,
            "declared": component.amount,
            "partitions": component.partitions,
            **{f"{split} tokens": plan.total(split, "tokens", source) for split in SPLITS if plan.total(split, "tokens")},
            "training samples": component.samples,
            "training tokens in no sample": component.uncovered,
            "in an epoch": component.drawn,
            "epochs": round(component.epochs, 3),
        }
        for component, source in zip(components, plan.current.sources, strict=True)
    ]
    drawn = [(component.corpus, component.drawn) for component in components]
    documents, tokens = (sum(plan.total(split, count) for split in SPLITS) for count in ("documents", "tokens"))
    return {
        **_common(built),
        **_amounts(documents, tokens, built.artifact.manifest.files[PLAN].bytes, 0),
        "samples in an epoch": plan.current.drawn,
        "training tokens in no sample": plan.uncovered(),
        "order": _order(plan),
        "segments": len(plan.segments),
        "largest deviation from the weights, samples": round(largest_deviation(plan), 3),
        "sequence length": plan.seq_len,
        "dtype": plan.dtype,
        "engine": built.artifact.manifest.details.get("engine", ""),
        "corpora": _table(corpora),
        "composition": dg.MetadataValue.md(bar_chart("samples in an epoch of the mixture", drawn)),
    }


def _order(plan: Plan) -> str:
    if len(plan.segments) == 1:
        return "one order from position 0 on"
    return f"changed from position {plan.current.start:,} on; before it, as plan {plan.ancestors[0].fingerprint} has it"


def _common(built: Built) -> Metadata:
    return {
        "path": dg.MetadataValue.path(str(built.artifact.path)),
        "fingerprint": built.artifact.fingerprint,
        "reused": built.reused,
        "seconds": round(built.seconds, 3),
    }


def _amounts(documents: int, tokens: int, size: int, seconds: float) -> Metadata:
    speed = {"tokens a second": round(tokens / seconds)} if seconds else {}
    return {"documents": documents, "tokens": tokens, "bytes": size, **speed}


def _lengths(built: Built) -> Metadata:
    lengths = Lengths.of(document_lengths(built.artifact))
    if lengths is None:
        return {}
    bars = [(f"≥{short(low)}", count) for low, count in lengths.histogram]
    return {
        "tokens a document": _table([{**lengths.quantiles, "mean": round(lengths.mean, 1)}]),
        "tokens a document, plotted": dg.MetadataValue.md(bar_chart("documents by their number of tokens", bars)),
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows])
