"""The vocabulary of a cache: the tokens that its ids stand for."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phyagi_assets.errors import StoreError


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """The tokens of a cache's tokenizer, as the cache's manifest tells them."""

    size: int
    max_id: int
    eos_token_id: int | None
    file: Path
    """``tokenizer.json``, which tells the token of each id."""
    checksum: str | None
    """Checksum of that file; None if the cache has none."""

    def agrees(self, other: "Vocabulary") -> bool:
        """Whether the ids of both stand for the same tokens.

        Raises
        ------
        StoreError
            A ``tokenizer.json`` had to be read, and is none.
        """
        if (self.size, self.max_id, self.eos_token_id) != (other.size, other.max_id, other.eos_token_id):
            return False
        if self.checksum == other.checksum or self.checksum is None or other.checksum is None:
            return True
        return self._tokens() == other._tokens()  # other versions of a library write the same tokenizer otherwise

    def _tokens(self) -> dict[str, int]:
        try:
            record: Any = json.loads(self.file.read_text(encoding="utf-8"))
            vocabulary = record["model"]["vocab"]
            if not isinstance(vocabulary, dict):
                vocabulary = {token: number for number, (token, _score) in enumerate(vocabulary)}
            return vocabulary | {token["content"]: token["id"] for token in record["added_tokens"]}
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise StoreError(f"{self.file}: is no tokenizer.json: {problem!r}; make the cache again") from None
