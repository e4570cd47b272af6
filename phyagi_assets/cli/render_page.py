"""A page about a corpus or a mixture: one HTML file that needs no other file, no script and no store."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from phyagi_assets import __version__
from phyagi_assets.cli.charts import PALETTE, columns, shares
from phyagi_assets.formatting import counted, short, short_counted, short_size
from phyagi_assets.inspection.explain import ExplainedSample
from phyagi_assets.inspection.overview import CorpusOverview, MixtureOverview, Overview
from phyagi_assets.inspection.spans import Sample
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.lengths import Lengths
from phyagi_assets.steps.step import Scope

_MARKED = re.compile("⟦([^⟦⟧]*)⟧")
_LISTED = 1000
"""Largest number of partitions whose rows are listed."""
_SHOWN = 700
"""Largest number of characters of a document in a sample."""
_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --text: #1d2330; --faint: #566075; --line: #d5dae3; --box: #f4f6f9;
  --bar: #3f5bd6; --mark: #ffe9a8; --marked: #1d2330; --link: #2a47c2; }
@media (prefers-color-scheme: dark) { :root { --page: #12151c; --text: #e6e9ef; --faint: #a5aec0; --line: #343b49; --box: #1b202a;
  --bar: #8ea2ff; --mark: #5a4a12; --marked: #fff3cf; --link: #a9b8ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 32px 24px 64px; overflow-wrap: break-word; }
h1 { margin: 0; font-size: 2rem; } h2 { margin: 44px 0 8px; font-size: 1.3rem; } h3 { margin: 26px 0 6px; font-size: 1.05rem; }
p { margin: 6px 0; } .faint, figcaption, caption { color: var(--faint); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin: 22px 0; padding: 0; }
.cards div { background: var(--box); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.cards dt { color: var(--faint); font-size: .85rem; } .cards dd { margin: 0; font-size: 1.3rem; font-weight: 600; }
figure { margin: 14px 0; } svg { width: 100%; height: auto; display: block; } svg text { fill: var(--faint); font-size: 12px; }
.bar { fill: var(--bar); } .axis { stroke: var(--faint); } .grid { stroke: var(--line); stroke-dasharray: 3 4; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 8px; float: left; margin-top: .45em; }
.scroll { overflow-x: auto; } .scroll svg { min-width: 560px; } td:first-child { min-width: 9rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; padding: 4px 0; } th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); text-align: left; }
th { font-weight: 600; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.number + :not(.number) { padding-left: 12px; }
code, pre { font: .88rem/1.5 ui-monospace, monospace; } pre { background: var(--box); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; margin: 8px 0; unicode-bidi: plaintext; }
mark { background: var(--mark); color: var(--marked); border-radius: 3px; }
.document { border-left: 3px solid var(--bar); padding-left: 12px;
  margin: 10px 0; } .flow { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; list-style: none; padding: 0; }
.flow li { background: var(--box); border: 1px solid var(--line); border-radius: 8px; padding: 8px 12px; }
.flow li:not(:last-child)::after { content: "→"; margin-left: 22px; position: absolute; color: var(--faint); } .flow { gap: 8px 36px; }
summary { cursor: pointer; color: var(--link); }
footer { margin-top: 56px; color: var(--faint); font-size: .85rem; }
@media print { main { max-width: none; padding: 0; } .scroll { overflow: visible; } .key, mark { print-color-adjust: exact; }
  table { font-size: .75rem; } th, td { padding-right: 8px; } td:first-child { min-width: 6rem; }
  h2, h3, summary, .document > p { break-after: avoid; } figure, tr, .cards div { break-inside: avoid; } }
"""


def page_of(found: Overview) -> str:
    """Return the page about a corpus or a mixture, as HTML."""
    body = _mixture(found) if isinstance(found, MixtureOverview) else _corpus_page(found)
    kind = "mixture" if isinstance(found, MixtureOverview) else "corpus"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(found.name)} – {kind}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n'
        f"{body}\n<footer>Written by phyagi-assets {__version__}.</footer>\n</main>\n</body>\n</html>\n"
    )


def _corpus_page(corpus: CorpusOverview) -> str:
    return "\n".join(
        [
            _heading("Corpus", corpus.name, corpus.description),
            _cards(_corpus_numbers(corpus)),
            _tokens_by_partition(corpus),
            _lengths(corpus.lengths),
            _duplicates(corpus),
            _documents(corpus.samples),
            _lineage(["the source", *(step.name for step in FLOW.of(Scope.PARTITION))], corpus.declaration),
            _partitions(corpus),
            _loading(
                f'from phyagi_assets.datasets import load_mixture\n\nmixture = load_mixture("NAME")  # a mixture that reads {corpus.name}'
            ),
        ]
    )


def _mixture(mixture: MixtureOverview) -> str:
    plan = mixture.plan
    tokens = {split: plan.total(split, "tokens") for split in ("train", "validation", "test")}
    numbers = [
        ("training tokens", short(tokens["train"])),
        *((f"{split} tokens", short(count)) for split, count in list(tokens.items())[1:] if count),
        ("samples in an epoch", f"{plan.current.drawn:,}"),
        ("tokens per sample", f"{plan.seq_len:,}"),
        ("corpora", f"{len(mixture.components):,}"),
    ]
    return "\n".join(
        [
            _heading("Mixture", mixture.name, mixture.description),
            _cards(numbers),
            _composition(mixture),
            _segments(mixture),
            _samples(mixture.samples),
            *(_part(corpus) for corpus in mixture.corpora),
            *(_unpublished(corpus) for corpus in mixture.unpublished),
            _lineage(["the sources", *(step.name for step in FLOW.steps)], mixture.declaration),
            f"<p>Fingerprint of the plan: <code>{mixture.fingerprint}</code></p>",
            _loading(
                "from phyagi_assets.datasets import load_mixture\n\n"
                f'mixture = load_mixture("{mixture.name}", store="PLACE OF THE STORE")\n'
                "train, validation = mixture.train, mixture.validation"
            ),
        ]
    )


def _heading(kind: str, name: str, description: str) -> str:
    shown = f"<p>{escape(description)}</p>" if description else ""
    return f'<header><p class="faint">{kind}</p><h1>{escape(name)}</h1>{shown}</header>'


def _cards(numbers: Iterable[tuple[str, str]]) -> str:
    cards = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in numbers)
    return f'<dl class="cards">{cards}</dl>'


def _corpus_numbers(corpus: CorpusOverview) -> list[tuple[str, str]]:
    return [
        *((f"{'training' if split == 'train' else split} tokens", short(count)) for split, count in corpus.tokens.items()),
        ("documents", f"{corpus.documents:,}"),
        ("partitions", f"{len(corpus.partitions):,}"),
        ("size", short_size(corpus.bytes)),
        ("tokenizer", corpus.tokenizer.partition(" ")[0]),
    ]


def _composition(mixture: MixtureOverview) -> str:
    is_packed = any(of.fill is not None for of in mixture.components)
    rows = [
        [
            f'<span class="key" style="background:{PALETTE[i % len(PALETTE)]}"></span>{escape(of.corpus)}',
            escape(of.amount),
            f"{of.tokens:,}",
            f"{of.drawn:,}",
            f"{of.part:.2%}",
            f"{of.epochs:.3g}",
            f"{of.uncovered:,}",
            *([] if not is_packed else [""] if of.fill is None else [f"{of.fill:.2%}"]),
        ]
        for i, of in enumerate(mixture.components)
    ]
    heads = ["corpus", "declared", "training tokens", "samples in an epoch", "share", "epochs", "tokens in no sample"]
    heads += ["packed, full"] * is_packed
    bar = shares("Share of each corpus in the samples", [(of.corpus, of.part) for of in mixture.components])
    note = f"At every prefix of an epoch, each corpus is within {mixture.deviation:.3g} samples of its share."
    held = [f"{name} ({short_counted(of.total('validation', 'tokens'), 'token')})" for name, of in mixture.plan.evaluated()]
    evaluated = f"<p class='faint'>For evaluation only: {escape(', '.join(held))}.</p>" if held else ""
    return f"<h2>Composition</h2><figure>{bar}</figure>{_table(heads, rows, numbers_from=2)}<p class='faint'>{note}</p>{evaluated}"


def _segments(mixture: MixtureOverview) -> str:
    segments = mixture.plan.segments
    if len(segments) == 1:
        return ""
    rows = [
        [f"{segment.start:,}", escape(", ".join(f"{mixture.plan.corpora[of.corpus].name} {of.amount}" for of in segment.sources))]
        for segment in segments
    ]
    return f"<h2>Segments</h2>{_table(['from position', 'corpora'], rows)}"


def _part(corpus: CorpusOverview) -> str:
    """Return the section of a mixture about one of its corpora."""
    heading = f"<h2>{escape(corpus.name)}</h2>" + (f"<p>{escape(corpus.description)}</p>" if corpus.description else "")
    numbers, tokens, lengths = _cards(_corpus_numbers(corpus)), _tokens_by_partition(corpus, level=3), _lengths(corpus.lengths, level=3)
    return heading + numbers + tokens + lengths + _duplicates(corpus, level=3) + _partitions(corpus, level=3)


def _unpublished(corpus: str) -> str:
    told = "This corpus is no longer published. The mixture reads the versions that its plan names."
    return f"<h2>{escape(corpus)}</h2><p>{told}</p>"


def _tokens_by_partition(corpus: CorpusOverview, level: int = 2) -> str:
    values = [(partition.key, float(sum(partition.tokens.values()))) for partition in corpus.partitions]
    if len(values) < 2:
        return ""
    chart = columns(f"Tokens by partition of {corpus.name}", values, "tokens")
    return f'<h{level}>Tokens by partition</h{level}><figure class="scroll" tabindex="0">{chart}</figure>'


def _lengths(lengths: Lengths | None, level: int = 2) -> str:
    if lengths is None:
        return ""
    bins = [(f"≥ {low:,}", float(count)) for low, count in lengths.histogram]
    told = ", ".join(f"{name} {value:,}" for name, value in lengths.quantiles.items())
    chart = columns("Documents by number of tokens", bins, "documents")
    return (
        f'<h{level}>Document lengths</h{level}><figure><div class="scroll" tabindex="0">{chart}</div>'
        f"<figcaption>Tokens per document: {told}, mean {lengths.mean:,.1f}</figcaption></figure>"
    )


def _duplicates(corpus: CorpusOverview, level: int = 2) -> str:
    if corpus.duplicates is None:
        return ""
    share = corpus.duplicates / max(1, corpus.documents)
    told = f"{counted(corpus.duplicates, 'document')} ({share:.2%}) with a text that occurs before in the corpus."
    return f"<h{level}>Duplicates</h{level}><p>{told}</p>"


def _documents(samples: Sequence[Sample]) -> str:
    shown = [
        f'<div class="document"><p class="faint">{escape(of.where)}, {counted(of.tokens, "token")}</p>'
        f'<pre tabindex="0">{_text(of.text)}</pre></div>'
        for of in samples
    ]
    return f"<h2>Documents chosen at random</h2>{_LEGEND if any('<mark>' in of for of in shown) else ''}{''.join(shown)}" if shown else ""


_LEGEND = "<p class='faint'>What is trained on is <mark>marked</mark>.</p>"


def _samples(samples: Sequence[ExplainedSample]) -> str:
    shown = []
    for sample in samples:
        documents = "".join(
            f'<div class="document"><p class="faint">tokens {of.start:,}–{of.end:,} of the sample: {escape(of.file)} row {of.row + 1:,}, '
            f"id {of.id}, tokens {of.part}</p>"
            f'<pre tabindex="0">{_text(_beginning(of.marked))}</pre></div>'
            for of in sample.documents
        )
        where = f"{escape(sample.corpus)}/{escape(sample.partition)}, epoch {sample.epoch:,}"
        shown.append(f"<h3>Position {sample.position:,}: {where}</h3>{documents}")
    if not shown:
        return ""
    note = "<p class='faint'>Each block is the part of one document that the sample contains.</p>"
    return f"<h2>Samples chosen at random</h2>{note}{_LEGEND if any('<mark>' in of for of in shown) else ''}{''.join(shown)}"


def _beginning(marked: str) -> str:
    """Return the beginning of a text with marks, of which the last one is closed."""
    if len(marked) <= _SHOWN:
        return marked
    shown = marked[:_SHOWN]
    return f"{shown}{'⟧' * (shown.rfind('⟦') > shown.rfind('⟧'))}…"


def _text(text: str) -> str:
    return _MARKED.sub(r"<mark>\1</mark>", escape(text))


def _lineage(steps: Sequence[str], declaration: str) -> str:
    flow = "".join(f"<li>{escape(step)}</li>" for step in steps)
    declared = f'<details><summary>Declaration</summary><pre tabindex="0">{escape(declaration)}</pre></details>' if declaration else ""
    return f'<h2>Lineage</h2><ol class="flow">{flow}</ol>{declared}'


def _partitions(corpus: CorpusOverview, level: int = 2) -> str:
    steps = list(corpus.partitions[0].fingerprints)
    rows = [
        [
            escape(partition.key),
            f"{sum(partition.tokens.values()):,}",
            f"{partition.documents:,}",
            short_size(partition.bytes),
            *(f"<code>{partition.fingerprints[step][:8]}</code>" for step in steps),
        ]
        for partition in corpus.partitions[:_LISTED]
    ]
    left = len(corpus.partitions) - len(rows)
    more = f"<p class='faint'>and {counted(left, 'partition')} more</p>" if left > 0 else ""
    table = _table(["partition", "tokens", "documents", "size", *steps], rows, numbers_from=1, numbers_until=4)
    return (
        f"<h{level}>Partitions and fingerprints</h{level}><details{' open' if len(rows) <= 12 else ''}>"
        f"<summary>{counted(len(corpus.partitions), 'partition')}</summary>{table}{more}</details>"
    )


def _loading(code: str) -> str:
    return f'<h2>How to load it</h2><pre tabindex="0">{escape(code)}</pre>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int = 99, numbers_until: int = 99) -> str:
    """Return a table; the cells are HTML."""

    def kind(column: int) -> str:
        return ' class="number"' if numbers_from <= column < numbers_until else ""

    head = "".join(f'<th scope="col"{kind(i)}>{escape(name)}</th>' for i, name in enumerate(heads))
    body = "".join(f"<tr>{''.join(f'<td{kind(i)}>{cell}</td>' for i, cell in enumerate(row))}</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
