"""Caches of one tokenizer are recognised."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.vocabulary import Vocabulary, token_ids
from tests.support import write_text


def _vocabulary(file: Path, content: Any = None, **keys: Any) -> Vocabulary:
    if content is not None:
        write_text(file, content if isinstance(content, str) else json.dumps(content))
    return Vocabulary(**{"size": 3, "max_id": 2, "eos_token_id": 0, "file": file, "checksum": file.name, **keys})


def _tokenizer(vocabulary: Any, added: dict[str, int]) -> dict[str, Any]:
    return {"model": {"vocab": vocabulary}, "added_tokens": [{"content": token, "id": number} for token, number in added.items()]}


def test_ids_are_those_of_tokenizers() -> None:
    made = Tokenizer(WordLevel({"x": 0, "y": 1, "<eos>": 2}, unk_token="x"))
    made.add_special_tokens(["<eos>", "<pad>"])
    content = json.loads(made.to_str())
    content["added_tokens"][0]["id"] = 1  # another one than that of the vocabulary
    assert token_ids(content) == Tokenizer.from_str(json.dumps(content)).get_vocab() == {"x": 0, "y": 1, "<eos>": 2, "<pad>": 3}


@pytest.mark.parametrize("other", [{"size": 4}, {"max_id": 5}, {"eos_token_id": None}])
def test_other_numbers_are_another_tokenizer(tmp_path: Path, other: dict[str, Any]) -> None:
    assert not _vocabulary(tmp_path / "a").agrees(_vocabulary(tmp_path / "a", **other))


@pytest.mark.parametrize("other", [{}, {"checksum": None}])
def test_vocabularies_agree_if_checksums_are_equal_or_missing(tmp_path: Path, other: dict[str, Any]) -> None:
    assert _vocabulary(tmp_path / "a").agrees(_vocabulary(tmp_path / "a", **other))
    assert _vocabulary(tmp_path / "a", **other).agrees(_vocabulary(tmp_path / "a"))


@pytest.mark.parametrize(
    ("content", "agrees"),
    [
        (_tokenizer({"x": 1, "y": 0}, {"<eos>": 2}), True),
        (_tokenizer([["y", -0.1], ["x", -0.2]], {"<eos>": 2}), True),
        (_tokenizer({"y": 0, "x": 1, "<eos>": 2}, {}), True),
        (_tokenizer({"x": 0, "y": 1}, {"<eos>": 2}), False),
        (_tokenizer({"y": 0, "x": 1}, {"<end>": 2}), False),
        (_tokenizer([["x", -0.1], ["y", -0.2]], {"<eos>": 2}), False),
    ],
)
def test_vocabularies_agree_if_files_differ_and_ids_do_not(tmp_path: Path, content: Any, agrees: bool) -> None:
    one = _vocabulary(tmp_path / "a", _tokenizer({"y": 0, "x": 1}, {"<eos>": 2}))
    other = _vocabulary(tmp_path / "b", content)
    assert one.agrees(other) is other.agrees(one) is agrees


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model": {}}', '{"model": {"vocab": [1]}, "added_tokens": []}'])
def test_invalid_tokenizer_file_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    one = _vocabulary(tmp_path / "a", _tokenizer({}, {}))
    with pytest.raises(StoreError, match=f"^{tmp_path / 'b'}: is not a valid tokenizer"):
        one.agrees(_vocabulary(tmp_path / "b", content))
