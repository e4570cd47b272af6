"""The tables of the documentation match the code."""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from phyagi_assets.declare.corpus_schema import CorpusConfig
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.validation_messages import model_in
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.steps.flow import FLOW
from tests.support import REPOSITORY, write_text


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every key of a declaration; keys inside mappings and lists by their path."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        inner = model_in(field.annotation)
        if inner is not None:
            yield from keys_of(inner, f"{prefix}{name}.")


def test_tables_of_declarations_list_every_key() -> None:
    page = (REPOSITORY / "docs" / "declaring-data.md").read_text(encoding="utf-8")
    for title, model in (("## A corpus", CorpusConfig), ("## A mixture", MixtureConfig)):
        section = page[page.index(f"{title}\n") :].partition("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        listed = {key for row in rows for key in re.findall(r"`([\w.]+)`", row.split(" | ")[0])}
        for key in keys_of(model):
            parent, _, name = key.rpartition(".")
            row = next((row for row in rows if parent and row.startswith(f"| `{parent}` ")), "")
            assert key in listed or re.search(rf"\b{name}\b", row) or any(inner.startswith(f"{key}.") for inner in listed), key


def test_table_of_steps_matches_the_flow() -> None:
    page = (REPOSITORY / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    section = page[page.index("## The steps\n") :].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    sources = {step.name: f"`{step.input}`" if step.input else "the source" for step in FLOW.steps}
    assert rows == [f"| `{step.name}` | {step.scope.value} | {sources[step.name]} | {step.description} |" for step in FLOW.steps]


def test_common_forms_are_declarations(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "declaring-data.md").read_text(encoding="utf-8")
    section = page[page.index("## Common forms\n") :].partition("\n## ")[0]
    rows = [re.findall(r"`([^`]*: [^`]*)`", row.split(" | ", 1)[1]) for row in section.splitlines() if row.startswith("| ") and "`" in row]
    assert rows
    for keys in rows:
        load_yaml(write_text(tmp_path / "form.yaml", "\n".join(["name: form", "tokenizer: tokenizers/bytes", *keys])), CorpusConfig)
