"""Megatron-LM's ``preprocess_data_fast``, as far as it is part of the package megatron-core.

The tool is a script of Megatron-LM's repository that encodes with gigatoken and writes with ``add_documents_parallel`` of the package. A
release without that method cannot run it.
"""

import sys
from importlib.metadata import version

from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

if not hasattr(IndexedDatasetBuilder, "add_documents_parallel"):
    sys.exit(
        f"megatron-core {version('megatron-core')} has no IndexedDatasetBuilder.add_documents_parallel, which preprocess_data_fast needs"
    )
sys.exit("preprocess_data_fast is not part of the package megatron-core; run it from a clone of Megatron-LM")
