"""Conversations → ids and masks: this project against ``datasets.map`` over ``apply_chat_template``, and rendering by itself.

Run it with ``make bench-conversations``. Each run is a process of its own on one processor, with conversations that it has not seen. Writes
the tables.
"""

from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chat.inputs import tokenizer, write_conversations
from harness import measure, options
from suite import Contender, Figure, Ratio, Setting, Suite

SIZES = {"500 bytes": 500, "2 kB": 2000}
OURS = Contender(name="phyagi-assets, its steps", program="chat/contenders/our_steps.py", kind="this project", processors=1)
MAP = Contender(name="datasets.map over apply_chat_template", program="chat/contenders/datasets_map.py", processors=1)
RENDERING = Contender(
    name="limit: rendering the template alone", program="chat/contenders/rendering_alone.py", kind="a limit", processors=1
)
FIGURES = [
    Figure(title="conversations/s", name="rate", form="{:,.0f}"),
    Figure(title="µs of a processor per conversation", name="cpu_us", form="{:,.0f}"),
    Figure(title="peak memory, MB", name="peak_mb", form="{:,.0f}"),
]


class Conversations:
    """The conversations of a run."""

    def __init__(self, work: Path, count: int) -> None:
        self.work, self.count = work, count

    def __call__(self, _contender: Contender, setting: Setting, seed: int) -> Mapping[str, Any]:
        """Return the folder of the file, the number of conversations and the folder of the tokenizer."""
        folder = self.work / "chat" / "inputs"
        write_conversations(folder / "chats.jsonl", count=self.count, size=setting.given["bytes"], seed=seed)
        return {"source": str(folder), "conversations": self.count, "tokenizer": str(tokenizer(self.work / "chat" / "tokenizer"))}


def derive(run: Mapping[str, float]) -> Mapping[str, float]:
    """Compute the rates of a run."""
    return {"rate": run["conversations"] / run["seconds"], "cpu_us": 1e6 * run["cpu_seconds"] / run["conversations"]}


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=40_000, help="number of conversations  [default: 40000]")


def main() -> None:
    given = options(__doc__, rounds=5, add=add_options)
    measure(
        Suite(
            title="Conversations → ids and masks",
            contenders=[OURS, MAP, RENDERING],
            settings=[Setting(name=name, given={"bytes": size}) for name, size in SIZES.items()],
            figures=FIGURES,
            ratios=[Ratio(of=OURS, to=MAP, aim="≥ 4 at 500 bytes, ≥ 10 at 2 kB")],
            prepare=Conversations(given.work, given.count // 20 if given.quick else given.count),
            derive=derive,
            notes="Conversations of four turns, with GPT-2's tokenizer and a ChatML template that marks what the assistant writes. Times "
            "are taken inside the process, after imports. This project also publishes, checks and caches what it makes; the other keeps "
            "a table of lists.",
            packages=("phyagi-assets", "gigatoken", "tokenizers", "transformers", "datasets"),
        ),
        given,
    )


if __name__ == "__main__":
    main()
