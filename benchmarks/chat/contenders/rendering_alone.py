"""Rendering of the chat template by itself, without reading and encoding."""

import json
from typing import Any

from contender import Stopwatch, done, given

from phyagi_assets.tokenizers.chat_template import ChatTemplate

if __name__ == "__main__":
    told: Any = given()
    template = ChatTemplate((told.tokenizer / "chat_template.jinja").read_text(encoding="utf-8"), {})
    rows = [json.loads(line)["messages"] for file in sorted(told.source.glob("*.jsonl")) for line in file.open(encoding="utf-8")]

    with Stopwatch() as watch:
        for messages in rows:
            template.render_with_parts(messages, None)

    done(watch)
