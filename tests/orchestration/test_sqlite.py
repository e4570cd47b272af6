"""Fast use of Dagster's databases."""

import logging
import os
from contextlib import ExitStack, closing
from pathlib import Path
from sqlite3 import connect

import pytest
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from phyagi_assets.orchestration.sqlite import fast_records, share_database, share_databases


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


def test_database_is_opened_once_and_closed_with_the_context(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="phyagi_assets")
    records = tmp_path / "records.db"
    opened = set()
    with fast_records():
        for _ in range(3):  # as Dagster does for each statement
            engine = vars(sqlite_event_log)["create_engine"](f"sqlite:///{records}", poolclass=NullPool)
            with engine.begin() as connection:
                connection.execute(text("create table if not exists events (id integer)"))
                connection.execute(text("insert into events values (1)"))
                opened.add(connection.connection.dbapi_connection)
            engine.dispose()
            with closing(connect(records)) as another:
                assert another.execute("pragma journal_mode").fetchone() == ("wal",)
        assert len(opened) == 1
        assert records.with_name("records.db-wal").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["records.db"]
    with closing(connect(records)) as another:
        assert another.execute("select count(*) from events").fetchone() == (3,)
    assert not [record for record in caplog.records if record.name.startswith("phyagi_assets")]


def test_interrupt_while_a_database_is_closed_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    records = ExitStack()
    records.enter_context(fast_records())
    with vars(sqlite_event_log)["create_engine"](f"sqlite:///{tmp_path / 'records.db'}").begin() as connection:
        connection.execute(text("create table events (id integer)"))
    for logger in logging.Logger.manager.loggerDict.values():
        logger.disabled = False  # type: ignore[union-attr] - as Dagster does when it configures logging
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(DefaultDialect, "do_close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        records.close()
    assert caplog.messages == []


def test_file_of_a_database_that_stays_open_changes_when_something_is_committed(tmp_path: Path) -> None:
    """The UI shows new lines of a run's log when the file changes; in WAL mode, commits change another one."""
    records = tmp_path / "records.db"
    with fast_records():
        engine = vars(sqlite_event_log)["create_engine"](f"sqlite:///{records}")
        with engine.connect() as connection:
            os.utime(records, (0, 0))
            connection.execute(text("create table events (id integer)"))
            assert records.stat().st_mtime == 0
            connection.commit()
            assert records.stat().st_mtime > 0


def test_error_of_a_database_does_not_show_the_statement(tmp_path: Path) -> None:
    with fast_records():
        engine = sqlite_event_log.create_engine(f"sqlite:///{tmp_path / 'a.db'}", poolclass=NullPool)
        with engine.connect() as connection, pytest.raises(OperationalError) as raised:
            connection.execute(text("SELECT * FROM missing WHERE a = :a"), {"a": "a long text"})
        assert str(raised.value) == "(sqlite3.OperationalError) no such table: missing"


@pytest.mark.parametrize(("folder", "file"), [(0o770, 0o664), (0o750, 0o644)])
def test_group_of_a_folder_can_write_to_the_databases_of_command_and_ui(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: int, file: int
) -> None:
    tmp_path.chmod(folder)
    with fast_records():
        of_command = vars(sqlite_event_log)["create_engine"](f"sqlite:///{tmp_path / 'command.db'}")
        with of_command.begin() as connection:
            connection.execute(text("create table events (id integer)"))
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"command.db": file, "command.db-wal": file, "command.db-shm": file}
    share_databases()  # as the servers of the UI do
    try:
        with create_engine(f"sqlite:///{tmp_path / 'ui.db'}", poolclass=NullPool).connect():
            assert (tmp_path / "ui.db").stat().st_mode & 0o777 == file
        monkeypatch.chdir(tmp_path)
        with create_engine("sqlite://").connect():  # in memory
            pass
    finally:
        event.remove(Engine, "connect", share_database)
