"""Run a job of Dagster once, so that processes that are forked afterwards have done what Dagster does only once per process.

Dagster reads the revisions of its schema, SQLAlchemy prepares its classes, and both import modules at their first run. The job builds only
the first step of a partition: encoding would start threads, which a forked process does not have.
"""

import logging
import os
import tempfile
from pathlib import Path
from unittest import mock

from phyagi_assets.build.selection import select
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.materialize import Runner
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.project import RecordingProgress, opened_project
from tests.support import declare_corpus, write_text

with mock.patch.dict(os.environ), tempfile.TemporaryDirectory() as folder:
    os.environ.pop("DAGSTER_HOME", None)
    data = Path(folder)
    write_text(data / "raw" / "one.txt", "A line.\n")
    declare_corpus(data, "corpus", "raw/*.txt", partition_by="file")
    with opened_project(data, EnginePool()) as project:
        selection = select(load_catalog(data), ["corpus/raw_dataset"])
        runner = Runner(selection.catalog, project.workspace, project.instance, RecordingProgress(), selection.flow)
        outcome = runner.run(runner.stale())
        assert outcome.built, outcome
logging.getLogger("phyagi_assets").setLevel(logging.NOTSET)  # the configuration of the instance has set it
