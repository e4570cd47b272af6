"""Import transformers for its tokenizers only."""

import os
from typing import Any

from phyagi_assets.errors import translate_missing_packages


def import_transformers() -> Any:
    """Import and return `transformers`, without its advice to install torch, which tokenizers do not need."""
    advice = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    before = os.environ.get(advice)
    os.environ[advice] = "1"
    try:
        with translate_missing_packages():
            import transformers
    finally:
        if before is None:
            del os.environ[advice]
        else:
            os.environ[advice] = before
    return transformers
