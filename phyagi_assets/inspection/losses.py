"""Report the losses in a ledger: the loss of each corpus over time, spikes, and the documents behind them."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formats.loss_ledger import Ledger
from phyagi_assets.formats.plan import Plan
from phyagi_assets.inspection.explain import Explainer
from phyagi_assets.inspection.loss_proposal import Proposal
from phyagi_assets.inspection.loss_report import CorpusLosses, LossPoint, LossReport
from phyagi_assets.inspection.loss_series import Losses, mean_loss
from phyagi_assets.inspection.loss_spikes import largest_spikes, outlying_documents

_BINS = 60
"""Largest number of points of a curve."""


def report_losses(ledger: Ledger, explainer: Explainer, *, spikes: int, documents: int, proposal: Proposal | None) -> LossReport:
    """Report the losses in a ledger, with at most `spikes` spikes, and `documents` documents per spike and outside of them."""
    require_same_order(ledger, explainer.plan)
    losses = Losses.of(ledger.rows)
    largest = tuple(largest_spikes(losses, explainer, spikes, documents))
    return LossReport(
        mixture=explainer.plan.name,
        plan=explainer.plan.fingerprint,
        ledger=str(ledger.folder),
        first_step=int(losses.steps[0]),
        last_step=int(losses.steps[-1]),
        runs=ledger.runs,
        ranks=ledger.ranks,
        replaced=ledger.replaced,
        tokens=int(losses.tokens.sum()),
        loss=mean_loss(losses.loss, losses.tokens),
        corpora=tuple(_corpora(losses)),
        spikes=largest,
        outliers=tuple(outlying_documents(losses, explainer, largest, documents)),
        proposal=proposal,
    )


def require_same_order(ledger: Ledger, plan: Plan) -> None:
    """Check that a ledger was written with a plan, or with one of the same order up to the end of the ledger."""
    for use in ledger.plans:
        if not plan.agrees(use.plan, use.end):
            raise PhyagiAssetsError(
                f"{ledger.folder}: has losses of plan {use.plan} of mixture {use.mixture!r} up to position {use.end - 1:,}, but "
                f"{plan.name!r} is now plan {plan.fingerprint}, which has another order up to there; name the mixture of the ledger, or "
                "the path of the mixture.json of that plan"
            )


def _corpora(losses: Losses) -> Iterator[CorpusLosses]:
    count = len(losses.steps)
    bounds = np.unique(np.linspace(0, count, min(_BINS, count) + 1).astype(np.int64))
    tenth = max(1, count // 10)
    for name, loss, tokens in zip(losses.rows.names, losses.loss, losses.tokens, strict=True):
        yield CorpusLosses(
            corpus=name,
            tokens=int(tokens.sum()),
            share=float(tokens.sum() / losses.tokens.sum()),
            loss=mean_loss(loss, tokens),
            first=mean_loss(loss[:tenth], tokens[:tenth]),
            last=mean_loss(loss[-tenth:], tokens[-tenth:]),
            curve=tuple(
                LossPoint(
                    step=int(losses.steps[begin]), tokens=int(tokens[begin:end].sum()), loss=mean_loss(loss[begin:end], tokens[begin:end])
                )
                for begin, end in pairwise(bounds.tolist())
            ),
        )
