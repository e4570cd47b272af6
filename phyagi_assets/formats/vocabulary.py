"""The vocabulary of a cache: its tokens and their ids."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phyagi_assets.errors import StoreError


def token_ids(tokenizer: Any) -> dict[str, int]:
    """Return the ids of tokens, given the content of a ``tokenizer.json``.

    Raises
    ------
    TypeError, LookupError, ValueError
        The content is not a tokenizer.
    """
    vocabulary = tokenizer["model"]["vocab"]
    if not isinstance(vocabulary, dict):  # Unigram: pairs of token and score
        vocabulary = {token: id_ for id_, (token, _score) in enumerate(vocabulary)}
    added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens") or ()}
    return added | vocabulary  # where they differ, `tokenizers` takes the id of the vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """The tokens of a cache's tokenizer, as recorded in the cache's manifest."""

    size: int
    """Number of tokens."""
    max_id: int
    """Largest token id."""
    eos_token_id: int | None
    """Id of the EOS token; None if the tokenizer has none."""
    file: Path
    """Path of ``tokenizer.json``, which maps tokens to ids."""
    checksum: str | None
    """Checksum of ``tokenizer.json``; None if the cache does not have the file."""

    def agrees(self, other: "Vocabulary") -> bool:
        """Return whether both vocabularies assign the same ids to the same tokens.

        Raises
        ------
        StoreError
            A ``tokenizer.json`` cannot be read or is not valid.
        """
        if (self.size, self.max_id, self.eos_token_id) != (other.size, other.max_id, other.eos_token_id):
            return False
        if self.checksum == other.checksum or self.checksum is None or other.checksum is None:
            return True
        return self._tokens() == other._tokens()  # versions of the library write the same tokenizer differently

    def _tokens(self) -> dict[str, int]:
        try:
            return token_ids(json.loads(self.file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise StoreError(f"{self.file}: is not a valid tokenizer.json: {problem!r}; build the cache again") from None
