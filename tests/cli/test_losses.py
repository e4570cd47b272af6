"""Output of the command `losses`."""

import io

import pytest
from rich.console import Console

from phyagi_assets.cli.render_losses import show_losses
from phyagi_assets.inspection.loss_proposal import Proposal, ProposedShare
from phyagi_assets.inspection.loss_report import CorpusLosses, LossDocument, LossPoint, LossReport, LossSpike


def report() -> LossReport:
    """Return a report of two corpora with long curves, a spike and a proposal."""
    curve = tuple(LossPoint(step=step, tokens=10, loss=3.0 + 1 / (1 + step)) for step in range(60))
    corpora = tuple(
        CorpusLosses(corpus=name, tokens=600, share=0.5, loss=3.1, first=3.9, last=3.0, curve=curve) for name in ("shakespeare", "notes")
    )
    document = LossDocument(
        corpus="notes", partition="a", file="a.jsonl", row=0, id="2aad3885d55caa3e", positions=(7,), tokens=10, loss=9.0, excess=60.0,
        is_measured=True, text="A note.",
    )  # fmt: skip
    shares = tuple(ProposedShare(corpus=of.corpus, declared=0.5, trained=0.5, speed=41_021.7, share=0.5) for of in corpora)
    return LossReport(
        mixture="mix", plan="0" * 32, ledger="losses", first_step=0, last_step=59, runs=1, ranks=1, replaced=0, tokens=1200, loss=3.1,
        corpora=corpora,
        spikes=(LossSpike(first=7, last=7, peak=7, loss=9.0, expected=3.1, score=60.0, documents=(document,)),),
        proposal=Proposal(corpora=shares, declaration="datasets:\n  - {corpus: notes, share: 0.5}\n"),
    )  # fmt: skip


@pytest.mark.parametrize(("width", "curve"), [(80, 31), (200, 40)])
def test_curves_fit_the_width_of_the_terminal(width: int, curve: int) -> None:
    console = Console(width=width, file=io.StringIO())
    show_losses(console, report())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(len(line.rstrip()) for line in lines if not line.startswith("Proposed")) <= width
    assert sum(lines[3].count(block) for block in "▁▂▃▄▅▆▇█") == curve
    assert any("; position 7 " in line for line in lines)
    assert any("41,022" in line for line in lines)
