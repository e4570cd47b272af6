"""The special tokens around turns."""

import pytest

from phyagi_assets.datasets.rl.special_tokens import get_mask_token, get_special_token

pytestmark = pytest.mark.torch


def test_each_format_spells_the_turns_and_their_end() -> None:
    assert get_special_token("phi") == {"assistant": "<|assistant|>", "user": "<|user|>", "end": "<|end|>", "system": "<|system|>"}
    assert get_special_token("chatml", "user") == "<|im_start|>user<|im_sep|>"
    assert get_special_token("chatml", "end") == "<|im_end|>"
    assert (get_mask_token("start"), get_mask_token("end")) == ("<|mask_start|>", "<|mask_end|>")


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        (lambda: get_special_token("llama"), "special_token_format: unknown name 'llama'; use one of: phi, chatml"),
        (lambda: get_special_token("phi", "tool"), "special_token_type: unknown name 'tool'"),
        (lambda: get_mask_token("middle"), "mask_token_type: unknown name 'middle'; use one of: start, end"),
    ],
)
def test_unknown_name_raises_an_error_with_the_names(call: object, refusal: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=refusal):
        call()
