"""The JSON of a conversation, which is the text of its document.

It is an object with the messages and, if there are any, the tools, and a function of the row alone. The document's hash, and with it its
split and its id, stays the same if the chat template or the tokenizer changes.
"""

import json
from collections.abc import Mapping
from typing import Any

TOOLS = "tools"
"""Name of the column with the tools that an assistant may call; it need not exist."""
ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython")
"""Roles of messages."""
SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "observation": "tool"} | {role: role for role in ROLES}
"""Role by the value of ``from`` in ShareGPT's spelling of messages."""

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class InvalidConversationError(ValueError):
    """A row does not hold a conversation; the message says why, and in which turn."""


def conversation_json(messages: Any, tools: Any = None, *, name: str = "messages") -> str:
    """Return the JSON of a conversation, with the keys in the order in which the row has them.

    Parameters
    ----------
    messages
        List of messages: mappings with ``role`` and ``content``, or with ``from`` and ``value``. A string is parsed as JSON.
    tools
        List of tools, or its JSON; None, blank text or the JSON of null if there are none.
    name
        Name of the column of the messages.

    Raises
    ------
    InvalidConversationError
        The value is not a conversation.

    Examples
    --------
    >>> conversation_json([{"from": "human", "value": "Hi"}])
    '{"messages":[{"role":"user","content":"Hi"}]}'
    """
    messages = _parsed(messages, name)
    if not isinstance(messages, list):
        raise InvalidConversationError(f"{name!r} is {_described(messages)}; use a list of messages")
    if not messages:
        raise InvalidConversationError("has no messages")
    conversation: dict[str, Any] = {"messages": [_message(message, turn) for turn, message in enumerate(messages, 1)]}
    tools = None if isinstance(tools, str) and not tools.strip() else _parsed(tools, TOOLS)
    if tools is not None:
        if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
            raise InvalidConversationError(f"{TOOLS!r} is {_described(tools)}; use a list of JSON schemas")
        conversation["tools"] = tools
    try:
        text = _to_json(conversation)
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        raise InvalidConversationError("has a lone surrogate, which is not Unicode text") from None
    except TypeError as problem:
        raise InvalidConversationError(f"holds a value that JSON does not have: {problem}") from None
    return text


def _parsed(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as problem:
        raise InvalidConversationError(f"{name!r} is text that is not JSON: {problem}") from None


def _message(message: Any, turn: int) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise InvalidConversationError(f"turn {turn} is {_described(message)}; use a message, with a role and a content")
    if "role" not in message and "from" in message:
        spoken = {"role": SPEAKERS.get(str(message["from"]), message["from"]), "content": message.get("value")}
        message = {**spoken, **{key: value for key, value in message.items() if key not in ("from", "value", *spoken)}}
    if message.get("role") is None:
        raise InvalidConversationError(f"turn {turn} has no role; use one of {', '.join(ROLES)}")
    if message["role"] not in ROLES:
        raise InvalidConversationError(f"turn {turn} has the role {message['role']!r}; use one of {', '.join(ROLES)}")
    _check_content(message, turn)
    calls = message.get("tool_calls")
    if calls and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise InvalidConversationError(f"turn {turn} has tool_calls that are {_described(calls)}; use a list of objects, one per call")
    return dict(message)


def _check_content(message: Mapping[str, Any], turn: int) -> None:
    content = message.get("content")
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        return
    if content is None:
        raise InvalidConversationError(f"turn {turn} has no content; only a turn with tool_calls may be without")
    if not isinstance(content, list):
        raise InvalidConversationError(f"turn {turn} has a content that is {_described(content)}; use text, or a list of text parts")
    for number, part in enumerate(content, 1):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InvalidConversationError(f"turn {turn}: part {number} of its content is {_described(part)}; use {{type: text, text: …}}")


def _described(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
