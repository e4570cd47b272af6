"""Fast use of Dagster's databases."""

from pathlib import Path

from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log

from phyagi_assets.orchestration.sqlite import fast_records


def test_engines_are_used_again_within_the_outermost_context_alone(tmp_path: Path) -> None:
    declared = vars(sqlite_event_log)["create_engine"], vars(ScriptDirectory)["from_config"]
    address = f"sqlite:///{tmp_path / 'records.db'}"
    with fast_records():
        outer = vars(sqlite_event_log)["create_engine"]
        engine = outer(address)
        with fast_records():
            assert vars(sqlite_event_log)["create_engine"] is outer
            assert outer(address) is engine
        assert outer(address) is engine
        assert outer(f"{address}-2") is not engine
    assert (vars(sqlite_event_log)["create_engine"], vars(ScriptDirectory)["from_config"]) == declared
