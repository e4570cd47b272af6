"""Conversations as text."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.datasets.rl.formatting_utils import (
    CHATML_CHAT_TEMPLATE,
    GEN_TEMPLATE_PATCHES,
    PHI_CHAT_TEMPLATE,
    SYSTEM_MESSAGES,
    apply_chat_template,
    patch_tokenizer_generation_tag,
)
from phyagi_assets.tokenizers.chat_template import ChatTemplate

pytestmark = pytest.mark.torch

QUESTION = {"role": "user", "content": "What is AI?"}
ANSWER = {"role": "assistant", "content": "A field."}
TURNS = [{"role": "system", "content": "Be brief."}, QUESTION, ANSWER]


def test_turns_are_written_in_the_format() -> None:
    text = apply_chat_template({"chosen": TURNS}, "phi", shuffle=False)
    assert text == {"chosen": "<|system|>Be brief.<|end|><|user|>What is AI?<|end|><|assistant|>A field.<|end|>"}
    assert apply_chat_template({"chosen": [ANSWER]}, "chatml") == {"chosen": "<|im_start|>assistant<|im_sep|>A field.<|im_end|>"}


def test_mask_tokens_surround_turns_of_user_and_system() -> None:
    text = apply_chat_template({"chosen": TURNS}, "phi", shuffle=False, add_mask_tokens=True)["chosen"]
    start, end = "<|mask_start|>", "<|mask_end|>"
    assert text == f"{start}<|system|>Be brief.<|end|>{end}{start}<|user|>What is AI?<|end|>{end}<|assistant|>A field.<|end|>"


@pytest.mark.parametrize("style", SYSTEM_MESSAGES)
def test_system_message_is_put_in_front_of_prompts_without_one(style: str) -> None:
    def written(probability: float, **example: Any) -> dict[str, str]:
        return apply_chat_template(example, "phi", False, system_message_format=style, system_message_prob=probability)

    with_message = written(1, prompt=[QUESTION], chosen=[ANSWER])
    assert any(with_message["prompt"] == f"<|system|>{message}<|end|><|user|>What is AI?<|end|>" for message in SYSTEM_MESSAGES[style])
    assert with_message["chosen"] == "<|assistant|>A field.<|end|>"
    assert written(0, prompt=[QUESTION]) == {"prompt": "<|user|>What is AI?<|end|>"}
    assert written(1, prompt=TURNS)["prompt"].count("<|system|>") == 1


@given(st.text(), st.integers(1, 3))
def test_text_follows_from_the_example_which_is_not_modified(content: str, turns: int) -> None:
    example = {"prompt": [{"role": "user", "content": content}] * turns}
    before = copy.deepcopy(example)
    text = apply_chat_template(example, "chatml")
    assert text == apply_chat_template(copy.deepcopy(example), "chatml")
    assert example == before
    assert text["prompt"].count("<|im_start|>user<|im_sep|>") >= turns
    assert content in text["prompt"]


def test_about_a_tenth_of_the_questions_are_varied() -> None:
    asked = [f"Question {number}?" for number in range(1000)]
    texts = [apply_chat_template({"chosen": [{"role": "user", "content": text}]}, "phi")["chosen"] for text in asked]
    varied = [text for text, plain in zip(texts, asked, strict=True) if text != f"<|user|>{plain}<|end|>"]
    assert 60 < len(varied) < 140
    assert len(set(varied)) == len(varied)


@pytest.mark.parametrize(
    ("example", "settings", "refusal"),
    [
        (
            {"prompt": [{"role": "tool", "content": ""}]},
            {},
            "prompt: message 0 has the role 'tool'; the roles are: user",
        ),
        ({"prompt": [QUESTION, {"role": "user", "content": [1]}]}, {}, "prompt: message 1 has content of type list; use a string"),
        ({"prompt": []}, {}, "prompt: has no messages"),
        ({"prompt": [QUESTION], "rejected": None}, {}, "rejected: has no messages"),
        ({"prompt": "Hi"}, {}, "prompt: message 0 is of type str; use a message with role and content"),
        ({"prompt": TURNS}, {"special_token_format": "llama"}, "special_token_format: unknown name 'llama'"),
        ({"prompt": TURNS}, {"system_message_format": "cot"}, "system_message_format: unknown name 'cot'"),
        ({"prompt": TURNS}, {"system_message_prob": 2}, "system_message_prob: is 2; use a share from 0 to 1"),
    ],
)
def test_invalid_example_or_setting_raises(example: Any, settings: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        apply_chat_template(example, **{"special_token_format": "phi", **settings})


@pytest.mark.parametrize("name", GEN_TEMPLATE_PATCHES)
def test_known_tokenizer_gets_a_template_that_marks_the_answers(name: str) -> None:
    tokenizer = SimpleNamespace(name_or_path=name.replace("phi", "Phi"), chat_template="{{ messages }}")
    assert patch_tokenizer_generation_tag(tokenizer) is tokenizer
    template = ChatTemplate(tokenizer.chat_template, {"eos_token": "<eos>"})
    text, parts = template.render_with_parts(TURNS, None)
    assert template.marks_generation
    assert [text[start:end] for start, end in parts] == ["A field.<|im_end|>" if "phi-4" in name else "A field.<|end|>"]


def test_template_that_marks_the_answers_is_kept_and_others_raise() -> None:
    own = SimpleNamespace(name_or_path="own", chat_template="{% generation %}{{ messages }}{% endgeneration %}")
    assert patch_tokenizer_generation_tag(own).chat_template.startswith("{% generation %}")
    with pytest.raises(ValueError, match="tokenizer 'own': has no chat_template"):
        patch_tokenizer_generation_tag(SimpleNamespace(name_or_path="own", chat_template=None))
    with pytest.raises(ValueError, match=r"tokenizer 'own': its chat_template has no \{% generation %\}.*microsoft/phi-4"):
        patch_tokenizer_generation_tag(SimpleNamespace(name_or_path="own", chat_template="{{ messages }}"))


def test_templates_write_the_published_formats() -> None:
    phi = ChatTemplate(PHI_CHAT_TEMPLATE, {"eos_token": "<|endoftext|>"})
    assert phi.render([QUESTION], None, add_generation_prompt=True) == "<|user|>\nWhat is AI?<|end|>\n<|assistant|>\n"
    assert phi.render([ANSWER], None) == "<|assistant|>\nA field.<|end|>\n<|endoftext|>"
    chatml = ChatTemplate(CHATML_CHAT_TEMPLATE, {})
    asked = "<|im_start|>user<|im_sep|>What is AI?<|im_end|><|im_start|>assistant<|im_sep|>"
    assert chatml.render([QUESTION, ANSWER], None) == asked + "A field.<|im_end|>"
