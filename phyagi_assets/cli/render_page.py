"""A page about a corpus or a mixture: one HTML file that needs no other file, no script and no store."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from itertools import islice

from phyagi_assets import __version__
from phyagi_assets.cli.charts import PALETTE, columns, shares
from phyagi_assets.formatting import counted, listed, short, short_counted, short_size
from phyagi_assets.inspection.explain import ExplainedSample
from phyagi_assets.inspection.overview import CorpusOverview, MixtureOverview, Overview
from phyagi_assets.inspection.spans import Sample
from phyagi_assets.order.composition import largest_deviation, segment_corpora
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.lengths import Lengths
from phyagi_assets.steps.step import Scope

_MARKED = re.compile("⟦([^⟦⟧]*)⟧")
_LISTED = 1000
"""Largest number of partitions whose rows are listed."""
_SHOWN = 700
"""Largest number of characters of a document in a sample."""
_STYLE = files("phyagi_assets.cli").joinpath("page.css")


def page_of(found: Overview) -> str:
    """Return the page about a corpus or a mixture, as HTML."""
    body = _mixture(found) if isinstance(found, MixtureOverview) else _corpus_page(found)
    kind = "mixture" if isinstance(found, MixtureOverview) else "corpus"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(found.name)} – {kind}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>\n'
        f"{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n<footer>Written by phyagi-assets {__version__}.</footer>\n</main>\n</body>\n</html>\n"
    )


def _corpus_page(corpus: CorpusOverview) -> str:
    return "\n".join(
        [
            _heading("Corpus", corpus.name, corpus.description),
            _cards(_corpus_numbers(corpus)),
            _not_counted("In the source, but not built", corpus.missing),
            _not_counted("Published, but no longer in the source, and not counted", corpus.retired),
            _tokens_by_partition(corpus),
            _lengths(corpus.lengths),
            _duplicates(corpus),
            _documents(corpus.samples),
            _lineage(["the source", *(step.name for step in FLOW.in_scope(Scope.PARTITION))], corpus.declaration),
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
        ("partitions", f"{len(corpus.caches):,}"),
        ("size", short_size(sum(cache.manifest.own_bytes for cache in corpus.caches.values()))),
        ("tokenizer", str(next(iter(corpus.caches.values())).manifest.details["tokenizer"]["name"]).partition(" ")[0]),
    ]


def _not_counted(what: str, keys: Sequence[str]) -> str:
    return f"<p>{what}: {escape(counted(len(keys), 'partition'))} ({escape(listed(keys))}).</p>" if keys else ""


def _composition(mixture: MixtureOverview) -> str:
    is_packed = any(component.fill is not None for component in mixture.components)
    rows = [
        [
            f'<span class="key" style="background:{PALETTE[i % len(PALETTE)]}"></span>{escape(component.corpus)}',
            escape(component.amount),
            f"{component.tokens:,}",
            f"{component.drawn:,}",
            f"{component.part:.2%}",
            f"{component.epochs:.3g}",
            f"{component.uncovered:,}",
            *([] if not is_packed else [""] if component.fill is None else [f"{component.fill:.2%}"]),
        ]
        for i, component in enumerate(mixture.components)
    ]
    heads = ["corpus", "declared", "training tokens", "samples in an epoch", "share", "epochs", "tokens in no sample"]
    heads += ["packed, full"] * is_packed
    bar = shares("Share of each corpus in the samples", [(component.corpus, component.part) for component in mixture.components])
    note = f"At every prefix of an epoch, each corpus is within {largest_deviation(mixture.plan):.3g} samples of its share."
    corpora = [f"{name} ({short_counted(plan.total('validation', 'tokens'), 'token')})" for name, plan in mixture.plan.evaluated()]
    evaluated = f"<p class='faint'>For evaluation only: {escape(', '.join(corpora))}.</p>" if corpora else ""
    return f"<h2>Composition</h2><figure>{bar}</figure>{_table(heads, rows, numbers_from=2)}<p class='faint'>{note}</p>{evaluated}"


def _segments(mixture: MixtureOverview) -> str:
    plan = mixture.plan
    if len(plan.segments) == 1:
        return ""
    rows = [[f"{segment.start:,}", escape(segment_corpora(plan, segment))] for segment in plan.segments]
    return f"<h2>Segments</h2>{_table(['from position', 'corpora'], rows)}"


def _part(corpus: CorpusOverview) -> str:
    """Return the section of a mixture about one of its corpora."""
    heading = f"<h2>{escape(corpus.name)}</h2>" + (f"<p>{escape(corpus.description)}</p>" if corpus.description else "")
    numbers, tokens, lengths = _cards(_corpus_numbers(corpus)), _tokens_by_partition(corpus, level=3), _lengths(corpus.lengths, level=3)
    return heading + numbers + tokens + lengths + _duplicates(corpus, level=3) + _partitions(corpus, level=3)


def _unpublished(corpus: str) -> str:
    text = "This corpus is no longer published. The mixture reads the versions that its plan names."
    return f"<h2>{escape(corpus)}</h2><p>{text}</p>"


def _tokens_by_partition(corpus: CorpusOverview, level: int = 2) -> str:
    values = [(key, float(totals["tokens"])) for key, totals in corpus.totals.items()]
    if len(values) < 2:
        return ""
    chart = columns(f"Tokens by partition of {corpus.name}", values, "tokens")
    return f'<h{level}>Tokens by partition</h{level}><figure class="scroll" tabindex="0">{chart}</figure>'


def _lengths(lengths: Lengths | None, level: int = 2) -> str:
    if lengths is None:
        return ""
    bins = [(f"≥ {low:,}", float(count)) for low, count in lengths.histogram]
    chart = columns("Documents by number of tokens", bins, "documents")
    return (
        f'<h{level}>Document lengths</h{level}><figure><div class="scroll" tabindex="0">{chart}</div>'
        f"<figcaption>Tokens per document: {lengths}</figcaption></figure>"
    )


def _duplicates(corpus: CorpusOverview, level: int = 2) -> str:
    if corpus.duplicates is None:
        return ""
    share = corpus.duplicates / max(1, corpus.documents)
    text = f"{counted(corpus.duplicates, 'document')} ({share:.2%}) whose text occurs earlier in the corpus."
    return f"<h{level}>Duplicates</h{level}><p>{text}</p>"


def _documents(samples: Sequence[Sample]) -> str:
    shown = [
        f'<div class="document"><p class="faint">{escape(sample.where)}, {counted(sample.tokens, "token")}</p>'
        f'<pre tabindex="0">{_text(sample.text)}</pre></div>'
        for sample in samples
    ]
    return f"<h2>Documents chosen at random</h2>{_with_legend(shown)}" if shown else ""


_LEGEND = "<p class='faint'>Parts that are trained on are <mark>marked</mark>.</p>"


def _samples(samples: Sequence[ExplainedSample]) -> str:
    shown = []
    for sample in samples:
        documents = "".join(
            f'<div class="document"><p class="faint">tokens {document.start:,}–{document.end:,} of the sample: {escape(document.file)} '
            f"row {document.row + 1:,}, "
            f"id {document.id}, tokens {document.part}</p>"
            f'<pre tabindex="0">{_text(_beginning(document.marked))}</pre></div>'
            for document in sample.documents
        )
        where = f"{escape(sample.corpus)}/{escape(sample.partition)}, epoch {sample.epoch:,}"
        shown.append(f"<h3>Position {sample.position:,}: {where}</h3>{documents}")
    if not shown:
        return ""
    note = "<p class='faint'>Each block is the part of one document that the sample contains.</p>"
    return f"<h2>Samples chosen at random</h2>{note}{_with_legend(shown)}"


def _with_legend(shown: Sequence[str]) -> str:
    """Return blocks of text, with the legend before them if a part of one is marked."""
    return f"{_LEGEND if any('<mark>' in text for text in shown) else ''}{''.join(shown)}"


def _beginning(marked: str) -> str:
    """Return the beginning of a text with marks, and close the last mark."""
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
    steps = list(next(iter(corpus.fingerprints.values())))
    rows = [
        [
            escape(key),
            f"{totals['tokens']:,}",
            f"{totals['documents']:,}",
            short_size(corpus.caches[key].manifest.own_bytes),
            *(f"<code>{fingerprint[:8]}</code>" for fingerprint in corpus.fingerprints[key].values()),
        ]
        for key, totals in islice(corpus.totals.items(), _LISTED)
    ]
    left = len(corpus.caches) - len(rows)
    more = f"<p class='faint'>and {counted(left, 'partition')} more</p>" if left > 0 else ""
    table = _table(["partition", "tokens", "documents", "size", *steps], rows, numbers_from=1, numbers_until=4)
    return (
        f"<h{level}>Partitions and fingerprints</h{level}><details{' open' if len(rows) <= 12 else ''}>"
        f"<summary>{counted(len(corpus.caches), 'partition')}</summary>{table}{more}</details>"
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
