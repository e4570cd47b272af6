"""Open an instance of Dagster once, so that processes that are forked afterwards have read the revisions of its schema."""

import os
import tempfile
from pathlib import Path
from unittest import mock

from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.settings import Settings

with mock.patch.dict(os.environ), tempfile.TemporaryDirectory() as folder:
    os.environ.pop("DAGSTER_HOME", None)
    with open_instance(Settings(data=Path(folder), store=Path(folder) / "store")):
        pass
