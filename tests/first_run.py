"""Run a job of Dagster once, and load a tokenizer, so that processes that are forked afterwards have done what is done once per process.

Dagster reads the revisions of its schema, SQLAlchemy prepares its classes, and both import modules at their first run. The job builds only
the first step of a partition: encoding would start threads, which a forked process does not have. Nearly all tests use the same tokenizer;
the package keeps the two that were loaded last.
"""

import logging
import os
import tempfile
from pathlib import Path
from unittest import mock

from phyagi_assets.build.selection import select
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.formats.cache_tokenizer import load_backend
from phyagi_assets.orchestration.materialize import Runner
from phyagi_assets.tokenizers.engine_pool import EnginePool
from phyagi_assets.tokenizers.identity import Identities
from phyagi_assets.tokenizers.padding import padding_id
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from tests.project import RecordingProgress, opened_project
from tests.support import declare_corpus, write_text

with mock.patch.dict(os.environ), tempfile.TemporaryDirectory() as folder:
    os.environ.pop("DAGSTER_HOME", None)
    data = Path(folder)
    write_text(data / "raw" / "one.txt", "A line.\n")
    corpus = declare_corpus(data, "corpus", "raw/*.txt", partition_by="file")
    with opened_project(data, EnginePool()) as project:
        selection = select(load_catalog(data), ["corpus/raw_dataset"])
        runner = Runner(selection.catalog, project.workspace, project.instance, RecordingProgress(), selection.flow)
        outcome = runner.run(runner.stale())
        assert outcome.built, outcome
    saved = prepare_tokenizer(corpus, Identities(data), project.workspace.store).saved_backend.parent
    load_backend(saved.parent)
    padding_id(saved, "int32")
logging.getLogger("phyagi_assets").setLevel(logging.NOTSET)  # the configuration of the instance has set it
