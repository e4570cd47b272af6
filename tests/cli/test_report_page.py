"""The page about a corpus or a mixture."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from phyagi_assets.cli import main
from phyagi_assets.cli.charts import columns
from phyagi_assets.cli.render_page import _SHOWN, _beginning, _documents, _text, page_of
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.inspection.caches import caches_of_corpus
from phyagi_assets.inspection.overview import CorpusOverview, MixtureOverview, overview
from phyagi_assets.inspection.spans import Sample
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.project import declare_plays
from tests.support import build, copy_store, declare, declare_corpus, write_jsonl


class Page(HTMLParser):
    """A page whose elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in {"meta", "line"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Workspace:
    """A built workspace with the plays, notes with duplicates and markup, and a mixture of both. Tests do not change it."""
    data = tmp_path_factory.mktemp("built") / "data"
    declare_plays(data)
    workspace = Workspace(data=data, store=LocalStore(copy_store(prepared_store, data / "store")), engines=engines)
    write_jsonl(workspace.data / "raw" / "notes.jsonl", ["<script>alert(1)</script> & more", "twice", "twice", "twice"] * 5)
    declare_corpus(workspace.data, "notes", "raw/notes.jsonl", description="Notes <of> all kinds.")
    declare(workspace.data, "mixtures", name="both", seq_len=16, datasets=[{"corpus": "plays"}, {"corpus": "notes", "weight": 2}])
    catalog = load_catalog(workspace.data)
    partitions = {name: list(build(catalog.corpora[name], workspace)) for name in ("plays", "notes")}
    build_mixture(catalog.mixtures["both"], catalog.corpora, partitions, workspace)
    return workspace


def test_page_of_a_mixture_shows_its_composition_corpora_and_samples(built: Workspace) -> None:
    found = overview("both", built.store, built.store.root, load_catalog(built.data))
    assert isinstance(found, MixtureOverview)
    assert len(found.samples) == 6
    text = page_of(found)
    page = Page(text)
    assert page.headings[:3] == ["both", "Composition", "Samples chosen at random"]
    assert {"plays", "notes", "Lineage", "How to load it"} <= set(page.headings)
    assert f"{found.components[0].part:.2%}" in text
    assert found.fingerprint in text
    assert "load_mixture(&quot;both&quot;" in text
    assert text == page_of(overview("both", built.store, built.store.root, load_catalog(built.data)))


def test_page_of_a_mixture_shows_packing_and_corpora_for_evaluation_only(built: Workspace) -> None:
    declare(built.data, "mixtures", name="tuned", seq_len=64, packing="best_fit", datasets=[{"corpus": "plays"}], evaluation=["notes"])
    catalog = load_catalog(built.data)
    keys = {name: list(built.sources.partitions(catalog.corpora[name])) for name in ("plays", "notes")}
    retired = keys["plays"].pop()
    build_mixture(catalog.mixtures["tuned"], catalog.corpora, keys, built)
    found = overview("tuned", built.store, built.store.root, catalog, samples=0)
    assert isinstance(found, MixtureOverview)
    assert list(found.corpora[0].caches) == keys["plays"]
    text = page_of(found)
    assert retired not in text
    assert {"plays", "notes"} <= set(Page(text).headings)
    assert re.search(r"packed, full</th>.*\d\.\d\d%</td></tr>", text)
    assert re.search(r"For evaluation only: notes \([\d.]+k? tokens\)\.", text)
    pointer = built.store.root / "notes" / "numpy_cache" / "all"
    version = pointer.readlink()
    pointer.unlink()
    gone = page_of(overview("tuned", built.store, built.store.root, catalog))
    pointer.symlink_to(version)  # the other tests read it
    assert "<h2>notes</h2><p>This corpus is no longer published." in gone


def test_page_of_a_corpus_counts_duplicates_and_escapes_text(built: Workspace) -> None:
    found = overview("notes", built.store, built.store.root, load_catalog(built.data), samples=100)
    assert isinstance(found, CorpusOverview)
    assert (found.documents, found.duplicates, len(found.samples)) == (20, 18, 20)
    text = page_of(found)
    Page(text)
    assert "18 documents (90.00%)" in text
    assert "Notes &lt;of&gt; all kinds." in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text
    assert "<script" not in text


def test_page_of_a_corpus_names_partitions_that_are_not_built_or_retired(built: Workspace) -> None:
    first, *others = caches_of_corpus("plays", built.store)
    keys = [*others, "new"]
    found = overview("plays", built.store, built.store.root, load_catalog(built.data), samples=0, keys=keys)
    assert isinstance(found, CorpusOverview)
    assert list(found.caches) == others
    text = page_of(found)
    assert "In the source, but not built: 1 partition (new)." in text
    assert f"and not counted: 1 partition ({first})." in text


def test_page_needs_no_other_file_and_can_be_read_aloud(built: Workspace) -> None:
    page = Page(page_of(overview("both", built.store, built.store.root)))
    tags = {tag for tag, _ in page.attributes}
    assert not tags & {"script", "link", "img", "iframe"}
    assert not [value for _, of in page.attributes for name, value in of.items() if name in ("src", "href")]
    assert all(of.get("role") == "img" and of.get("aria-label") for tag, of in page.attributes if tag == "svg")
    assert all(of.get("scope") == "col" for tag, of in page.attributes if tag == "th")
    assert ("html", {"lang": "en"}) in page.attributes


def test_marked_parts_are_shown_as_marks() -> None:
    sample = Sample(where="a row 1", tokens=3, text="<u>⟦x & y⟧")
    shown = _documents([sample])
    assert "&lt;u&gt;<mark>x &amp; y</mark>" in shown
    assert "Parts that are trained on are" in shown
    long, short = "a" * 2_000, "b⟧ c"
    assert _text(_beginning(f"⟦{long}⟧")) == f"<mark>{long[: _SHOWN - 1]}</mark>…"
    assert _text(_beginning(f"⟦{short}")) == "<mark>b</mark> c"


@pytest.mark.parametrize("count", [1, 12, 121, 1000])
def test_columns_add_up_to_the_same_sum(count: int) -> None:
    chart = columns("tokens", [(f"day {i}", 10.0) for i in range(count)], "tokens")
    heights = [int(found.replace(",", "")) for found in re.findall(r": ([\d,]+) tokens</title>", chart)]
    assert (sum(heights), len(heights)) == (10 * count, min(count, 120))
    assert max(heights) - min(heights) <= 10


def test_labels_of_columns_are_cut_before_the_next_one() -> None:
    chart = columns("title", [(label, 1.0) for label in ("midsummer", "illimited", "hamlet") * 4], "tokens")
    assert set(re.findall("<text [^>]*>([^<]*)</text>", chart)) == {"0", "1", "midsu…", "illimited", "hamlet"}


def test_report_command_writes_the_page_or_reports_the_reason(built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["report", *words, "--data", str(built.data)])
        return done.exit_code, done.output

    code, told = run("both", "-o", str(tmp_path / "both.html"), "--samples", "0")
    assert (code, told[: len(str(tmp_path))]) == (0, str(tmp_path))
    assert "Samples chosen" not in (tmp_path / "both.html").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run("both")[1].startswith("both.html: ")
    assert run("nobody", "-o", str(tmp_path / "x.html"))[0] == 1
    assert run("both", "-o", str(tmp_path))[0] == 2
