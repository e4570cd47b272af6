"""The report about the losses in a ledger."""

from typing import Literal

from phyagi_assets.inspection.loss_proposal import Proposal
from phyagi_assets.inspection.report import Record, Report


class LossPoint(Record):
    """The loss of a corpus in consecutive steps."""

    step: int
    """First of the steps."""
    tokens: int
    """Number of tokens of the corpus in these steps."""
    loss: float | None
    """Mean loss per token, in nats; None without tokens, or if a loss is not finite."""


class CorpusLosses(Record):
    """The losses of a corpus."""

    corpus: str
    tokens: int
    share: float
    """Share of the tokens of the ledger."""
    loss: float | None
    """Mean loss per token, in nats."""
    first: float | None
    """Mean loss per token in the first tenth of the steps."""
    last: float | None
    """Mean loss per token in the last tenth of the steps."""
    curve: tuple[LossPoint, ...]


class LossDocument(Record):
    """A document with an unusual loss, in the samples of a spike or of other steps."""

    corpus: str
    partition: str
    file: str
    """Name of the source file, as the source lists it."""
    row: int
    """0-based row of the document in the file."""
    id: str
    """Document id, as `phyagi-assets remove` takes it."""
    positions: tuple[int, ...]
    """Positions of the samples that contain it, among those that were traced."""
    tokens: int
    """Number of its tokens in these samples that have a loss."""
    loss: float | None
    """Mean loss of these tokens, in nats."""
    excess: float | None
    """Sum of these losses minus those that earlier steps of the corpus suggest, in nats; None if a loss is not finite."""
    is_measured: bool
    """Whether the loss is that of the document, and not of all documents in its samples."""
    text: str
    """Beginning of its text in the first of these samples."""


class LossSpike(Record):
    """Steps whose loss is far above that of the steps before them."""

    first: int
    """First step."""
    last: int
    """Last step."""
    peak: int
    """Step with the largest score."""
    loss: float | None
    """Mean loss per token at the peak, in nats; None if it is not finite."""
    expected: float | None
    """Loss that the earlier steps of the corpora at the peak suggest, in nats; None if they are too few."""
    score: float | None
    """Excess of the loss at the peak in standard deviations of earlier steps; None if the loss is not finite."""
    documents: tuple[LossDocument, ...]
    """Documents with the largest excess in these steps and the step before them."""


class LossReport(Report):
    """The losses in a ledger."""

    report: Literal["losses"] = "losses"
    version: Literal[1] = 1
    mixture: str
    plan: str
    """Fingerprint of the plan."""
    ledger: str
    """Folder of the ledger."""
    first_step: int
    last_step: int
    runs: int
    """Number of runs that wrote to the ledger."""
    ranks: int
    """Largest number of ranks of a run."""
    replaced: int
    """Number of rows that a later run replaced."""
    tokens: int
    loss: float | None
    """Mean loss per token, in nats."""
    corpora: tuple[CorpusLosses, ...]
    spikes: tuple[LossSpike, ...]
    """The largest spikes, the largest first."""
    outliers: tuple[LossDocument, ...] = ()
    """Documents outside of these spikes whose loss is far above that of documents of the same corpus and of about the same length."""
    proposal: Proposal | None
    """Shares for the next stage; None if not requested."""
