"""Chat templates with ``{% generation %}`` mark the parts that ``transformers`` finds, wherever the block is."""

import pytest

from phyagi_assets.tokenizers.chat_template import ChatTemplate

MESSAGES = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello, ünïcode 🙂"},
    {"role": "user", "content": "?"},
    {"role": "assistant", "content": ""},
]
OPEN, CLOSE = "{% generation %}", "{% endgeneration %}"
LOOP, END = "{% for m in messages %}", "{% endfor %}"
TEMPLATES = {
    "loop": f"{LOOP}<{{{{ m.role }}}}>{OPEN}{{{{ m.content }}}}|{CLOSE}\n{END}.",
    "condition": f"{LOOP}{{% if m.role == 'assistant' %}}{OPEN}{{{{ loop.index }}}} {{{{ m.content }}}}{CLOSE}{{% endif %}} {END}",
    "nothing inside": f"a{OPEN}{CLOSE}b",
    "block in a block": f"a{OPEN}b{OPEN}c{{{{ messages[0].content }}}}{CLOSE}d{OPEN}{CLOSE}{CLOSE}e",
    "own variables": (
        f"{{% set x = 'out' %}}{{% set ns = namespace(n=0) %}}{LOOP}{OPEN}{{% set x = x ~ m.content %}}{{% set ns.n = ns.n + 1 %}}"
        f"{{{{ x }}}}{{{{ ns.n }}}}{CLOSE}{{{{ x }}}}{END}{{{{ x }}}}"
    ),
    "loop in the block": f"{OPEN}{LOOP}{{{{ m.content }}}}{{% if loop.first %}}!{{% endif %}}{END}{CLOSE}",
    "macro": f"{{% macro say(m) %}}[{OPEN}{{{{ m.content }}}}{CLOSE}]{{% endmacro %}}{LOOP}{{{{ say(m) }}}}{END}",
    "set": f"{{% set text %}}[{OPEN}a{CLOSE}]{{% endset %}}x{{{{ text }}}}{OPEN}b{CLOSE}",
    "filter": f"x{{% filter upper %}}y{OPEN}a{CLOSE}{{% endfilter %}}",
    "recursive loop": f"x{{% for m in messages recursive %}}y{OPEN}{{{{ m.content }}}}{CLOSE}{END}",
    "names of a function": f"x{OPEN}{{{{ kwargs }}}}{{{{ varargs }}}}{CLOSE}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_parts_are_those_of_transformers(name: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    template = ChatTemplate(TEMPLATES[name], {})
    texts, parts = render_jinja_template(conversations=[MESSAGES], chat_template=TEMPLATES[name], return_assistant_tokens_mask=True)
    for _ in range(2):
        text, found = template.render_with_parts(MESSAGES, None)
        assert (text, found) == (texts[0], parts[0])
        assert template.render(MESSAGES, None) == text


def test_block_that_leaves_a_loop_is_invalid_as_in_transformers() -> None:
    with pytest.raises(SyntaxError, match="outside loop"):
        ChatTemplate(f"{LOOP}{OPEN}{{% break %}}{CLOSE}{END}", {})
