"""The import of transformers."""

import subprocess
import sys

WITHOUT_TORCH = """
import os, sys
sys.modules["torch"] = None
from phyagi_assets.tokenizers.transformers_import import import_transformers
import_transformers().AutoTokenizer
print(os.environ.get("TRANSFORMERS_NO_ADVISORY_WARNINGS"))
"""


def test_transformers_is_imported_without_its_advice_to_install_torch() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("None\n", "")
