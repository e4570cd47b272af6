"""The checks of a tokenized_arrow: every row is read, and a sample of the documents is decoded."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.declare.corpus_schema import LimitsConfig
from phyagi_assets.execution.ordered import prefetch
from phyagi_assets.formats.token_rows import TRAINED, row_batches
from phyagi_assets.formatting import counted
from phyagi_assets.steps.checks.check import WITHIN_LIMITS, Check
from phyagi_assets.steps.checks.round_trip import RoundTrip, SampledDocument
from phyagi_assets.steps.checks.token_ids import Findings, IdCounts, IdRules
from phyagi_assets.steps.eos import BY_TOKENIZER, EOS_BY
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.decoding import Decoder

ROWS = "rows_as_counted"
DUPLICATES = "duplicates"
INVALID = "invalid_rows"

SAMPLED = 64
"""Largest number of documents that are decoded."""
SAMPLED_TOKENS = 1 << 12
"""Largest number of tokens that are decoded, except that the first document of the sample may have more."""
DECODED_WHOLE = 1 << 17
"""Largest number of tokens of a document that is decoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """Requirements on the rows of a tokenized artifact."""

    ids: IdRules
    eos: int
    """Number of tokens at the end of each document that this package has appended, 0 or 1."""
    has_text_hashes: bool
    """Whether the hash of a row is that of the text that was encoded: not for conversations."""

    @classmethod
    def of(cls, manifest: Manifest, tokenizer: Mapping[str, Any], *, has_mask: bool) -> "Rules":
        """Return the rules of a version, given its manifest as it is expected, the details of the tokenizer, and whether it has masks."""
        append_eos = bool(manifest.settings["append_eos"])
        eos = int(append_eos and manifest.settings.get(EOS_BY) != BY_TOKENIZER)
        return cls(ids=IdRules.of(tokenizer, append_eos=append_eos), eos=eos, has_text_hashes=not has_mask)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedRows(Findings):
    """Findings in the rows of an artifact or of one of its chunks."""

    ids: IdCounts = field(default_factory=IdCounts)
    documents: int = 0
    """Number of rows."""
    empty: int = 0
    """Number of rows without tokens."""
    mismeasured: int = 0
    """Number of rows whose length differs from the column ``length``."""
    round_trip: RoundTrip = field(default_factory=RoundTrip)

    def __add__(self, other: "CheckedRows") -> "CheckedRows":
        return Findings.__add__(self, replace(other, round_trip=other.round_trip.after(self.documents)))


def examine_rows(batches: Iterator[pa.RecordBatch], rules: Rules, decoder: Decoder, total: int, seed: Sequence[int]) -> CheckedRows:
    """Read rows, and decode a sample of their documents."""
    sample, counts = _Sample(total, seed, rules), IdCounts()
    documents = empty = mismeasured = 0
    with closing(prefetch(batches, size=lambda batch: batch.nbytes)) as rows:
        for batch in rows:
            ids, ends = batch.column("input_ids").flatten().to_numpy(), np.cumsum(batch.column("input_ids").value_lengths().to_numpy())
            lengths = np.diff(ends, prepend=0)
            nonempty = lengths > 0
            counts += rules.ids.count(ids, ends[nonempty] - 1)
            sample.take(documents, ids, ends, batch.column("hash").to_numpy())
            mismeasured += int((batch.column("length").to_numpy() != lengths).sum())
            documents, empty = documents + len(lengths), empty + int((~nonempty).sum())
    round_trip = RoundTrip.of(sample.documents, decoder)
    return CheckedRows(ids=counts, documents=documents, empty=empty, mismeasured=mismeasured, round_trip=round_trip)


def check_tokens(artifact: Artifact, limits: LimitsConfig, decoder: Decoder) -> list[Check]:
    """Check the documents of a partition.

    Parameters
    ----------
    limits
        Declared limits on duplicates and invalid rows. A share without a limit is reported, and passes.
    """
    manifest = artifact.manifest
    hashes: list[npt.NDArray[np.uint64]] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in row_batches(artifact):
            hashes.append(batch.column("hash").to_numpy()[batch.column("input_ids").value_lengths().to_numpy() > 0])
            yield batch

    rules = Rules.of(manifest, manifest.details["tokenizer"], has_mask=TRAINED in manifest.counts)
    seed = (int(manifest.fingerprint[:12], 16),)
    found = examine_rows(batches(), rules, decoder, int(manifest.counts["documents"]), seed)
    return token_checks(found, hashes, manifest, limits, decoder)


def token_checks(
    found: CheckedRows, hashes: Sequence[npt.NDArray[np.uint64]], manifest: Manifest, limits: LimitsConfig, decoder: Decoder
) -> list[Check]:
    """Return the outcomes of the checks of a version, given also the text hashes of its documents with tokens, in several arrays."""
    id_rules = IdRules.of(manifest.details["tokenizer"], append_eos=bool(manifest.settings["append_eos"]))
    return [
        *id_rules.checks(found.ids),
        found.round_trip.check(decoder),
        _rows(manifest.counts, found),
        _duplicates(hashes, limits.duplicates),
        _invalid(manifest, limits.invalid),
    ]


class _Sample:
    """A random sample of the documents, drawn over all rows; the same for the same version."""

    def __init__(self, total: int, seed: Sequence[int], rules: Rules) -> None:
        draw = np.random.default_rng(seed[0] if len(seed) == 1 else seed)
        self._rows: npt.NDArray[np.int64] = np.unique(draw.integers(total, size=SAMPLED)) if total else np.zeros(0, np.int64)
        self._order = draw.permutation(len(self._rows))
        self._drawn: dict[int, SampledDocument] = {}
        self._rules = rules

    def take(self, first: int, ids: npt.NDArray[Any], ends: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64]) -> None:
        """Keep the sampled documents of a batch, given the row of its first document."""
        low, high = np.searchsorted(self._rows, [first, first + len(ends)])
        for place in range(low, high):
            row = int(self._rows[place]) - first
            start, end = int(ends[row - 1]) if row else 0, int(ends[row]) - self._rules.eos
            if 0 < end - start <= DECODED_WHOLE:
                text_hash = int(hashes[row]) if self._rules.has_text_hashes else None
                self._drawn[place] = SampledDocument(row=first + row, ids=ids[start:end].tolist(), text_hash=text_hash)

    @property
    def documents(self) -> Sequence[SampledDocument]:
        """The sampled documents in random order, as many as fit into `SAMPLED_TOKENS`, and always the first one."""
        taken: list[SampledDocument] = []
        left = SAMPLED_TOKENS
        for place in self._order.tolist():
            document = self._drawn.get(place)
            if document and (len(document.ids) <= left or not taken):
                taken.append(document)
                left -= len(document.ids)
        return taken


def _rows(recorded: Mapping[str, int], found: CheckedRows) -> Check:
    documents, tokens, empty = found.documents, found.ids.tokens, found.empty
    now = {"documents": documents, "tokens": tokens, "empty": empty}
    problems = [
        f"{count:,} {'empty documents' if name == 'empty' else name}, where {recorded[name]:,} were counted"
        for name, count in now.items()
        if count != recorded[name]
    ]
    if found.mismeasured:
        problems.append(f"{counted(found.mismeasured, 'document')} of another length than the column length says")
    otherwise = f"{counted(documents, 'document')}, {empty:,} of them empty, with {counted(tokens, 'token')}, as counted"
    return Check.of(ROWS, problems, otherwise, {"documents": documents, "tokens": tokens, "empty documents": empty})


def _duplicates(hashes: Sequence[npt.NDArray[np.uint64]], limit: float | None) -> Check:
    texts = np.sort(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
    repeated = int((texts[1:] == texts[:-1]).sum())
    found = f"{repeated:,} of {counted(len(texts), 'document')} whose text occurs earlier"
    return _share(DUPLICATES, repeated, len(texts), found, limit)


def _invalid(manifest: Manifest, limit: float | None) -> Check:
    invalid, documents = int(manifest.counts["invalid"]), int(manifest.counts["documents"])
    found = f"{invalid:,} of {counted(invalid + documents, 'row')} left out, having no text"
    return _share(INVALID, invalid, invalid + documents, found, limit)


def _share(name: str, part: int, whole: int, found: str, limit: float | None) -> Check:
    share = part / whole if whole else 0.0
    numbers: dict[str, int | float] = {"documents": whole, name.replace("_", " "): part, "share": round(share, 6)}
    if limit is None:
        return Check(name=name, passed=True, found=f"{found}; no limit is declared", numbers=numbers, part_of=WITHIN_LIMITS)
    passed = share <= limit
    key = name.partition("_")[0]
    found = f"{found}: {100 * share:.3g} %, and limits.{key} allows {100 * limit:.3g} %"
    if not passed:
        found += "; correct the source, or raise the limit"
    return Check(name=name, passed=passed, found=found, numbers={**numbers, "limit": limit}, part_of=WITHIN_LIMITS)
