"""Templates that render turn after turn: the rendering of the first turns is the beginning of the whole."""

import pytest

from phyagi_assets.tokenizers.chat_template import ChatTemplate, Messages

SYSTEM, USER, ASSISTANT = ({"role": role, "content": f"{role}!"} for role in ("system", "user", "assistant"))
CONVERSATIONS: list[Messages] = [
    [USER, ASSISTANT, USER, ASSISTANT],
    [SYSTEM, USER, ASSISTANT, USER, ASSISTANT],
    [ASSISTANT, {"role": "user", "content": ""}, {"role": "assistant", "content": "🙂"}],
    [USER],
]
LOOP, END, TURN = "{% for m in messages %}", "{% endfor %}", "<{{ m.role }}>{{ m.content }}|"
PROMPT = "{% if add_generation_prompt %}<assistant>{% endif %}"
IN_TURN = {
    "plain": f"{LOOP}{TURN}{END}{PROMPT}",
    "an end without a prompt": (
        f"{{{{ eos }}}}{LOOP}{TURN}{END}{{% if add_generation_prompt %}}<assistant>{{% else %}}{{{{ eos }}}}{{% endif %}}"
    ),
    "system message before the loop": (
        "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}"
        f"{{% endif %}}{{% for m in rest %}}{TURN}{END}{PROMPT}"
    ),
    "messages renamed": f"{{% if messages[0].role == 'system' %}}{{% set messages = messages[1:] %}}{{% endif %}}{LOOP}{TURN}{END}{PROMPT}",
    "earlier turns": (
        f"{{% set ns = namespace(n=0) %}}{LOOP}{{% if loop.first %}}!{{% elif loop.previtem.role != m.role %}}/{{% endif %}}"
        f"{{% set ns.n = ns.n + 1 %}}{{{{ ns.n }}}}{{{{ loop.index0 }}}}"
        f"{TURN}{{% if m.role == 'user' %}}{{% continue %}}{{% endif %}}.{END}{PROMPT}"
    ),
    "loop inside": f"{LOOP}{{% for c in m.content %}}{{{{ c }}}}{{{{ ',' if not loop.last }}}}{END}|{END}{PROMPT}",
    "macro": f"{{% macro say(m) %}}{TURN}{{% endmacro %}}{LOOP}{{{{ say(m) }}}}{END}{PROMPT}",
}
"""Templates that render turn after turn."""
ACROSS_TURNS = {
    "last turn": f"{LOOP}{TURN}{{{{ '.' if loop.last }}}}{END}{PROMPT}",
    "number of turns": f"{{{{ messages | length }}}}{LOOP}{TURN}{END}{PROMPT}",
    "loop's number of turns": f"{LOOP}{TURN}{{{{ loop.length }}}}{{{{ loop['revindex'] }}}}{END}{PROMPT}",
    "next turn": f"{LOOP}{TURN}{{{{ '/' if loop.index0 and messages[loop.index0 + 1] }}}}{END}{PROMPT}",
    "another end of the list": f"{LOOP}{TURN}{{{{ messages[-1].role }}}}{END}{PROMPT}",
    "first of the rest": f"{{% set messages = messages[1:] %}}{{{{ messages[0].role }}}}{LOOP}{TURN}{END}{PROMPT}",
    "prompt in the loop": f"{LOOP}{TURN}{PROMPT}{END}",
    "prompt before the loop": f"{{% set asks = add_generation_prompt %}}{LOOP}{TURN}{END}{{{{ '<assistant>' if asks }}}}",
    "state after the loop": f"{{% set ns = namespace(n=0) %}}{LOOP}{{% set ns.n = ns.n + 1 %}}{TURN}{END}{{{{ ns.n }}}}{PROMPT}",
    "call after the loop": f"{{% set take = cycler('a', 'b') %}}{LOOP}{{{{ take.next() }}}}{TURN}{END}{{{{ take.next() }}}}",
    "two loops": f"{LOOP}{{{{ m.role }}}}{END}{LOOP}{TURN}{END}{PROMPT}",
    "some turns": f"{{% for m in messages if m.role == 'user' %}}{TURN}{END}{PROMPT}",
    "some more turns": f"{{% for m in messages[1:] %}}{TURN}{END}{PROMPT}",
    "loop left early": f"{LOOP}{TURN}{{% if loop.index == 3 %}}{{% break %}}{{% endif %}}{END}{PROMPT}",
    "loop in a condition": f"{{% if messages %}}{LOOP}{TURN}{END}{{% endif %}}{PROMPT}",
    "loop in a macro": f"{{% macro all(messages) %}}{LOOP}{TURN}{END}{{% endmacro %}}{{{{ all(messages) }}}}{PROMPT}",
    "messages under another name": f"{{% set ns = namespace(all=messages) %}}{LOOP}{{{{ ns.all | length }}}}{TURN}{END}{PROMPT}",
    "loop under another name": f"{LOOP}{{% set outer = loop %}}{{% for c in m.content %}}{{{{ outer.last }}}}{END}{END}{PROMPT}",
    "else": f"{LOOP}{TURN}{{% else %}}none{END}{PROMPT}",
    "recursive": f"{{% for m in messages recursive %}}{TURN}{END}{PROMPT}",
}
"""Templates in which a turn may depend on later turns, and templates that are not recognized."""


@pytest.mark.parametrize("name", IN_TURN)
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=len)
def test_first_turns_are_rendered_as_the_beginning_of_the_whole_and_the_text_after_the_loop(name: str, conversation: Messages) -> None:
    template = ChatTemplate(IN_TURN[name], {"eos": "</s>"})
    text, ends = template.render_with_ends(conversation, None)
    assert ends is not None
    assert text == template.render(conversation, None)
    for turn in range(1, len(conversation) + 1):
        assert template.render(conversation[:turn], None) == text[: ends[turn]] + text[ends[-1] :]
        prompts = [template.render(conversation[:of], None, add_generation_prompt=True)[ends[of] :] for of in (1, turn)]
        assert prompts[0] == prompts[1]


@pytest.mark.parametrize("name", ACROSS_TURNS)
def test_templates_that_can_read_later_turns_are_rendered_turn_by_turn(name: str) -> None:
    text, ends = ChatTemplate(ACROSS_TURNS[name], {}).render_with_ends(CONVERSATIONS[0], None)
    assert (text, ends) == (ChatTemplate(ACROSS_TURNS[name], {}).render(CONVERSATIONS[0], None), None)
