"""A tokenizer with a chat template, and conversations."""

from pathlib import Path
from typing import Any

import pytest

from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from phyagi_assets.datasets.rl.formatting_utils import PHI_CHAT_TEMPLATE  # needs torch, which this file is loaded without

    folder = tmp_path_factory.mktemp("bytewise")
    save_byte_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(PHI_CHAT_TEMPLATE, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture
def conversations() -> dict[str, list[Any]]:
    return {
        "talk": [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "Hello"}], [{"role": "user", "content": "x" * 100}]],
        "truth": ["a", "b", "c"],
    }
