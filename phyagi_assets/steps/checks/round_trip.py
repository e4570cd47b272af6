"""Check that a sample of the stored documents decodes to its original text: decode the ids, encode the text again, and compare.

The row of a document holds the hash of its original text. If the decoded text has this hash, it is the original text, and has to give the
same ids again with any tokenizer. If it has another hash, the outcome depends on the tokenizer. With a tokenizer that keeps every byte,
the ids are wrong. A tokenizer that normalizes may have changed the text: the decoded text should then give the stored ids again. A
document for which it does not (for example because the tokenizer strips blanks around a special token) is tolerated, unless most
documents are like this and the tokenizer is known to restore its own ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import xxhash

from phyagi_assets.formatting import counted
from phyagi_assets.steps.checks.check import Check
from phyagi_assets.steps.checks.token_ids import Findings
from phyagi_assets.tokenizers.decoding import Decoder

ROUND_TRIP = "decoded_and_encoded_again"


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledDocument:
    """A document of the sample."""

    row: int
    """Index of the document's row in the artifact."""
    ids: Sequence[int]
    """Token ids, without the EOS that this package appended."""
    text_hash: int | None
    """XXH3-64 of the original text; None if it is not known, as that of a rendered conversation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTrip(Findings):
    """Result of decoding a sample of documents and encoding it again."""

    documents: int = 0
    wrong: tuple[int, ...] = ()
    """Rows of the documents with wrong ids."""
    untold: tuple[int, ...] = ()
    """Rows of the documents that gave other ids, which may be right because the tokenizer normalizes text."""

    @classmethod
    def of(cls, documents: Sequence[SampledDocument], decoder: Decoder) -> "RoundTrip":
        """Decode documents, encode the decoded texts, and compare texts and ids with the original ones."""
        texts = decoder.decode_all([document.ids for document in documents])
        wrong, untold = list[int](), list[int]()
        for document, text, again in zip(documents, texts, decoder.encode_all(texts), strict=True):
            is_known = document.text_hash is not None
            is_same = is_known and xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) == document.text_hash
            if list(again) != list(document.ids) or (is_known and not is_same and decoder.is_lossless):
                (wrong if is_same or decoder.is_lossless else untold).append(document.row)
        return cls(documents=len(documents), wrong=tuple(wrong), untold=tuple(untold))

    def after(self, rows: int) -> "RoundTrip":
        """Return the result for a part that begins after a number of rows."""
        return replace(self, wrong=tuple(row + rows for row in self.wrong), untold=tuple(row + rows for row in self.untold))

    def check(self, decoder: Decoder) -> Check:
        """Return the outcome, given a decoder of the tokenizer."""
        too_many = decoder.round_trips and 2 * len(self.untold) > self.documents
        broken = sorted([*self.wrong, *self.untold]) if self.wrong or too_many else []
        numbers = {"documents decoded": self.documents, "not the same again": len(broken)}
        found = f"{counted(self.documents, 'document')} decoded and encoded again, to the same ids"
        if broken:
            rows = ", ".join(f"{row + 1:,}" for row in broken[:5])
            found = (
                f"{len(broken)} of {counted(self.documents, 'document')} decoded to another text than was encoded; the first rows: {rows}"
            )
        elif not self.documents:
            found = "no document is short enough to be decoded as a whole"
        elif self.untold:
            found += f", but for {len(self.untold)} in which the tokenizer changes the text"
        return Check(name=ROUND_TRIP, passed=not broken, found=found, numbers=numbers)
