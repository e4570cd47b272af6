"""The project's own instance."""

import os
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
import sqlalchemy
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._utils.error import serializable_error_info_from_exc_info

from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.orchestration.databases import database_failure_message
from phyagi_assets.orchestration.instance import UI, dagster_environment, open_instance, ui_environment
from phyagi_assets.settings import Settings
from phyagi_assets.store.local import LocalStore
from tests.support import write_text


def test_instance_is_in_the_store_without_telemetry(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", store=tmp_path / "data" / "store")
    with open_instance(settings) as instance:
        assert instance.telemetry_enabled is False
        assert Path(instance.root_directory) == settings.store / ".dagster"


def test_dagster_home_is_used_with_its_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("nux: {enabled: true}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    environment = dagster_environment(Settings(data=tmp_path, store=tmp_path / "store"))
    assert environment["DAGSTER_HOME"] == str(home)
    assert (home / "dagster.yaml").read_text() == "nux: {enabled: true}\n"


def test_configuration_of_an_earlier_release_gets_the_new_settings_and_keeps_a_users(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, store=tmp_path / "store")
    configuration = Path(dagster_environment(settings)["DAGSTER_HOME"], "dagster.yaml")
    written = configuration.read_text()
    without_retries = written.partition("scheduler:")[0]
    without_pools = re.sub(r"  pools:\n.*\n", "", without_retries)
    assert len({written, without_retries, without_pools}) == 3
    for earlier in (without_retries, without_pools, without_pools.partition("sensors:")[0]):
        configuration.write_text(earlier)
        dagster_environment(settings)
        assert configuration.read_text() == written
    configuration.write_text(f"{without_pools}# mine\n")
    dagster_environment(settings)
    assert "granularity" not in configuration.read_text()


OPENED = {
    "open_instance": lambda settings: ExitStack().enter_context(open_instance(settings)),
    "ui_environment": ui_environment,
}


@pytest.mark.parametrize("text", ["[", "x: y\n"])
@pytest.mark.parametrize("by", OPENED)
def test_invalid_dagster_configuration_is_named(by: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with pytest.raises(PhyagiAssetsError, match=r"dagster\.yaml: is not a valid configuration of Dagster"):
        OPENED[by](Settings(data=tmp_path, store=tmp_path / "store"))
    assert sorted(path.name for path in home.iterdir()) == ["dagster.yaml"]


@pytest.mark.filterwarnings("ignore")  # of SQLAlchemy and psycopg2
def test_server_of_records_that_is_down_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    address = "{storage: {postgres: {postgres_url: 'postgresql://me:secret@127.0.0.1:1/records'}}}"
    write_text(home / "dagster.yaml", address)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda **_: 0.0)
    told = f'{home}: Dagster\'s records cannot be kept: connection to server at "127.0.0.1", port 1 failed: Connection refused '
    with pytest.raises(StoreError, match=re.escape(told)), open_instance(Settings(data=tmp_path, store=tmp_path / "store")):
        pass


def test_home_of_dagster_that_cannot_be_created_is_named_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data=tmp_path, store=tmp_path / "store")
    write_text(tmp_path / "store" / ".dagster", "")
    with pytest.raises(PhyagiAssetsError, match=r"store/\.dagster: cannot be created: File exists; choose another store with --store"):
        dagster_environment(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(write_text(tmp_path / "home", "")))
    with pytest.raises(PhyagiAssetsError, match="home: cannot be created: File exists; set DAGSTER_HOME to another folder"):
        dagster_environment(settings)


def test_second_ui_on_a_store_is_refused(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, store=tmp_path / "store")
    first = LocalStore(settings.store).hold_lock(UI)
    assert first is not None
    assert os.get_inheritable(first)  # the command executes dg, which keeps the lock
    try:
        with pytest.raises(PhyagiAssetsError, match="store: a UI is already running on this store"):
            ui_environment(settings)
    finally:
        os.close(first)


def insert_without_room(home: Path) -> None:
    """Fill a database up to its largest size, as on a disk that is full."""
    with sqlalchemy.create_engine(f"sqlite:///{home / 'index.db'}").connect() as connection:
        connection.exec_driver_sql("CREATE TABLE event_logs (event BLOB)")
        connection.exec_driver_sql("PRAGMA max_page_count = 3")
        connection.exec_driver_sql("INSERT INTO event_logs VALUES (zeroblob(100000))")


def open_a_database_of_no_folder(home: Path) -> None:
    sqlalchemy.create_engine(f"sqlite:///{home / 'absent' / 'index.db'}").connect()


@pytest.mark.parametrize(
    ("fail", "found"),
    [
        (insert_without_room, "database or disk is full"),
        (
            open_a_database_of_no_folder,
            "unable to open database file, as when the disk is full or has no free inodes, too many files are open, or the path is longer "
            "than 400 bytes",
        ),
    ],
)
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_database_failure_is_reported_without_its_sql_statement(
    tmp_path: Path, fail: Callable[[Path], None], found: str, is_wrapped: bool
) -> None:
    try:
        try:
            fail(tmp_path)
        except sqlalchemy.exc.DatabaseError as problem:
            if is_wrapped:
                raise RuntimeError("[SQL: INSERT INTO event_logs]") from problem
            raise
    except (sqlalchemy.exc.DatabaseError, RuntimeError):
        error = serializable_error_info_from_exc_info(sys.exc_info())
    home = str(tmp_path)
    assert database_failure_message(error, home) == f"{home}: Dagster's records cannot be kept: {found}; what was published is kept"
    gone = database_failure_message(error, str(tmp_path / "gone"))
    assert ("records are gone: this folder was removed while they were in use" in gone) is found.startswith("unable to open")


def test_other_failures_are_not_reported_as_database_failures() -> None:
    try:
        raise ValueError("a number")
    except ValueError:
        assert database_failure_message(serializable_error_info_from_exc_info(sys.exc_info()), "home") == ""


def test_unwritable_database_folder_is_named(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", store=tmp_path / "data" / "store")
    told = (
        r"store/\.dagster: Dagster's records cannot be kept: \S+/\.dagster/no/file: No such file or directory; what was published is kept"
    )
    with pytest.raises(StoreError, match=told), open_instance(settings):
        (settings.dagster_home / "no" / "file").touch()


@pytest.mark.parametrize("name", ["history/runs.db", "history/runs/index.db", "schedules/schedules.db"])
def test_damaged_database_is_an_error_with_a_remedy_and_an_empty_one_is_created_again(tmp_path: Path, name: str) -> None:
    settings = Settings(data=tmp_path / "data", store=tmp_path / "data" / "store")
    with open_instance(settings) as instance:
        home = Path(instance.root_directory)
    database = home / name
    database.write_bytes(b"no database" * 999)
    told = r"records are damaged: .*file is not a database; stop the UI if it runs, and move this folder away"
    for by in OPENED.values():
        with pytest.raises(StoreError, match=told):
            by(settings)
    database.write_bytes(b"")
    os.utime(database, (0, 0))
    database.with_name(f"{database.name}-journal").write_bytes(b"of a transaction")
    emptied = database.stat().st_ino
    with suppress(StoreError, sqlalchemy.exc.OperationalError), open_instance(settings):
        pass
    assert database.stat().st_ino == emptied
    database.with_name(f"{database.name}-journal").unlink(missing_ok=True)
    database.write_bytes(b"")
    os.utime(database, (0, 0))
    with open_instance(settings) as instance:
        assert (instance.get_dynamic_partitions("plays"), instance.get_runs(), instance.all_instigator_state()) == ([], [], [])


def test_databases_that_were_not_created_completely_are_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise sqlalchemy.exc.OperationalError("", {}, sqlite3.OperationalError("database or disk is full"))

    settings = Settings(data=tmp_path / "data", store=tmp_path / "data" / "store")
    with monkeypatch.context() as full:
        full.setattr(sqlite_event_log, "stamp_alembic_rev", fail)
        with pytest.raises(StoreError, match="disk is full"), open_instance(settings):
            pass
    events = settings.dagster_home / "history" / "runs" / "index.db"
    assert not events.exists()
    with closing(sqlite3.connect(events)) as database:  # as a process leaves it that was killed
        database.execute("CREATE TABLE event_logs (id INTEGER)")
    os.utime(events, (0, 0))
    with open_instance(settings) as instance:
        assert instance.get_dynamic_partitions("plays") == []


@pytest.mark.parametrize(("mode", "mask", "warns"), [(0o2775, 0o022, True), (0o2775, 0o002, False), (0o2755, 0o022, False)])
def test_umask_that_keeps_the_group_of_a_store_from_writing_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, mask: int, warns: bool
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(mode)
    before = os.umask(mask)
    try:
        dagster_environment(Settings(data=tmp_path, store=store))
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert ("your umask is 022; set it to 002" in caplog.text) is warns
