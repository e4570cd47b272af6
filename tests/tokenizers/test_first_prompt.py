"""Conversations that begin with the assistant, with templates that render no generation prompt before the first turn."""

import pytest

from phyagi_assets.declare.corpus_schema import TrainOn
from phyagi_assets.tokenizers.chat_template import DEFAULT, ChatFormat
from phyagi_assets.tokenizers.trained_parts import Renderer, RenderingError

OLMO_2 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'assistant' %}"
    "{% if not loop.last %}{{ '<|assistant|>\n' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ '<|assistant|>\n' + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
IN_LOOP = "{% for m in messages %}TURN{% if loop.last and add_generation_prompt %}PROMPT{% endif %}{% endfor %}"
"""Template to complete, with the generation prompt inside the loop."""
HEADED = IN_LOOP.replace("TURN", "<{{ m.role }}>{{ m.content }}|").replace("PROMPT", "<assistant>")
WITHOUT_HEADER = IN_LOOP.replace("TURN", "{{ '<user>' if m.role == 'user' }}{{ m.content }}|").replace("PROMPT", "<assistant>")
SEPARATED = IN_LOOP.replace("TURN", "{{ '/' if not loop.first }}<{{ m.role }}>{{ m.content }}|").replace("PROMPT", "/<assistant>")
OUTSIDE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}|{% endfor %}{{ '<assistant>' if add_generation_prompt }}"
WITHOUT_PROMPT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}|{% endfor %}"
MARKED = HEADED.replace("{{ m.content }}|", "{% generation %}{{ m.content }}|{% endgeneration %}")


def renderer(template: str, train_on: TrainOn = "assistant") -> Renderer:
    variables = (("bos_token", "<s>"), ("eos_token", "</s>"))
    return Renderer(ChatFormat(templates=((DEFAULT, template),), variables=variables), train_on)


def trained(template: str, *roles: str) -> list[str]:
    """Return the trained parts of a conversation in which the text of each turn is its role and number."""
    messages = [{"role": role, "content": f"{role} {number}"} for number, role in enumerate(roles)]
    rendered = renderer(template).render(messages, None)
    return [rendered.text[start:end] for start, end in rendered.parts]


@pytest.mark.parametrize("later", [(), ("user", "assistant")])
def test_header_of_a_first_turn_of_the_assistant_is_not_trained_on(later: tuple[str, ...]) -> None:
    parts = trained(OLMO_2, "assistant", *later)
    assert parts[0] == "assistant 0</s>"
    assert not any("<|assistant|>" in part for part in parts)


@pytest.mark.parametrize("template", [HEADED, OUTSIDE])
def test_first_turn_of_the_assistant_is_trained_on_from_its_content(template: str) -> None:
    assert trained(template, "assistant", "user", "assistant") == ["assistant 0|", "assistant 2|"]


def test_content_that_spells_a_prompt_is_trained_on_if_the_template_renders_none_there() -> None:
    rendered = renderer(WITHOUT_HEADER).render([{"role": "assistant", "content": "<assistant> yes"}], None)
    assert rendered.parts == ((0, len("<assistant> yes|")),)


def test_first_turn_that_does_not_begin_with_the_prompt_is_refused() -> None:
    with pytest.raises(RenderingError, match="the chat template does not begin turn 1 with its generation prompt; name a template"):
        trained(SEPARATED, "assistant", "user")
    assert trained(SEPARATED, "user", "assistant") == ["assistant 1|"]


def test_only_unmarked_templates_without_a_prompt_before_the_first_turn_depend_on_it() -> None:
    templates = (OLMO_2, HEADED, SEPARATED, WITHOUT_HEADER, OUTSIDE, WITHOUT_PROMPT, MARKED)
    found = [template for template in templates if renderer(template).adds_first_prompt]
    assert found == [OLMO_2, HEADED, SEPARATED]
    assert not renderer(OLMO_2, "all").adds_first_prompt
