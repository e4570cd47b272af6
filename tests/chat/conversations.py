"""Conversations for tests, drawn at random: tools, system turns, empty turns, unicode, and special tokens spelled in the content."""

import random
from typing import Any

SPELLINGS = (
    "<s>",
    "</s>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "<|start|>",
    "<|message|>",
    "<|channel|>",
    "<|return|>",
    "<|call|>",
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
)
"""Special tokens of the templates."""
WORDS = (
    "the",
    "of",
    "and",
    "weather",
    "in",
    "Paris",
    "is",
    "what",
    "you",
    "assistant",
    "12",
    "3.5",
    "a\n",
    "code:",
    "\n\n",
    "naïve",
    "cafe\u0301",
    "日本語",
    "🙂",
    "👩‍👩‍👧",
    "мир",
    "don't",
    "  ",
    "\t",
    "(x)",
    "é",
    "\u00a0",
    "ﬁ",
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
        },
    }
]


def text(draw: random.Random) -> str:
    """Return some text, which may be empty."""
    if draw.random() < 0.08:
        return ""
    words = draw.choices(WORDS, k=draw.randint(1, 12))
    if draw.random() < 0.2:
        words.insert(draw.randint(0, len(words)), draw.choice(SPELLINGS))
    return draw.choice((" ", "")).join(words) + draw.choice(("", "", " ", "\n"))


def conversation(draw: random.Random) -> dict[str, Any]:
    """Return a row with ``messages``, and ``tools`` in some of the rows."""
    messages: list[dict[str, Any]] = []
    if draw.random() < 0.4:
        messages.append({"role": "system", "content": text(draw)})
    has_tools = draw.random() < 0.25
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        messages.append({"role": "user", "content": text(draw)})
        if has_tools and draw.random() < 0.7:
            arguments: dict[str, Any] = {"city": text(draw)} if draw.random() < 0.5 else {"days": draw.randint(1, 9), "city": None}
            call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
            messages.append({"role": "assistant", "content": draw.choice(("", text(draw))), "tool_calls": [call]})
            messages.append({"role": "tool", "content": text(draw)})
        answer: dict[str, Any] = {"role": "assistant", "content": text(draw)}
        if draw.random() < 0.15:
            answer["reasoning_content"] = text(draw)
        messages.append(answer)
    if draw.random() < 0.1:
        messages.append({"role": "user", "content": text(draw)})
    return {"messages": messages, **({"tools": TOOLS} if has_tools else {})}


def conversations(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return some rows."""
    draw = random.Random(seed)
    return [conversation(draw) for _ in range(count)]
