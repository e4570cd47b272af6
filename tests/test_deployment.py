"""The files of `deploy/`: they fit together, and their instance works on a real Postgres server."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from phyagi_assets.orchestration.instance import dagster_environment
from phyagi_assets.settings import Settings
from tests.command import command
from tests.orchestration.live import LiveDagster, live_dagster
from tests.postgres import postgres_server
from tests.project import PLAY
from tests.support import REPOSITORY, copy_store, declare_corpus, write_text

DEPLOY = REPOSITORY / "deploy"


def _yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def _variables(found: Any) -> Iterator[str]:
    """Yield the environment variables that the configuration of an instance reads."""
    if isinstance(found, dict):
        if set(found) == {"env"}:
            yield found["env"]
        for value in found.values():
            yield from _variables(value)


def test_services_set_every_variable_that_the_instance_reads() -> None:
    services = _yaml("compose.yaml")["services"]
    for name in ("code", "webserver", "daemon"):
        assert set(_variables(_yaml("dagster.yaml"))) <= services[name]["environment"].keys()
        assert services[name]["build"]["dockerfile"] == "deploy/Dockerfile"


def test_web_server_and_daemon_find_the_code_server() -> None:
    services = _yaml("compose.yaml")["services"]
    (location,) = _yaml("workspace.yaml")["load_from"]
    server = location["grpc_server"]
    assert server["host"] in services
    assert f"--port {server['port']}" in services[server["host"]]["command"]
    assert server["location_name"] == "phyagi-assets"
    for name in ("webserver", "daemon"):
        assert "/opt/dagster/workspace.yaml" in services[name]["command"]
    assert f"reverse_proxy webserver:{re.search(r'--port (.*?) ', services['webserver']['command'])[1]}" in (  # type: ignore[index]
        DEPLOY / "Caddyfile"
    ).read_text(encoding="utf-8")
    assert "ports" not in services["webserver"], "it is reached through the login only"


def test_web_server_reads_the_output_of_runs_where_the_code_server_writes_it() -> None:
    compose = _yaml("compose.yaml")
    mounted = {
        name: dict(reversed(volume.rsplit(":", 1)) for volume in compose["services"][name]["volumes"]) for name in ("code", "webserver")
    }
    assert mounted["code"]["/opt/dagster/storage"] == mounted["webserver"]["/opt/dagster/storage"] in compose["volumes"]


def services_environment() -> set[str]:
    return {name for service in ("code", "webserver", "daemon") for name in _yaml("compose.yaml")["services"][service]["environment"]}


def test_settings_of_the_example_are_those_of_the_services() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{(\w+)", text))
    example = set(re.findall(r"^#? ?(\w+)=", (DEPLOY / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    documented = set(re.findall(r"`([A-Z_]+)`", "".join(page.read_text(encoding="utf-8") for page in (REPOSITORY / "docs").glob("*.md"))))
    assert example <= used | documented
    assert not {name for name in used if name.startswith("AWS_")} & services_environment(), "set but empty, they replace a machine's role"
    assert set(re.findall(r"\$\{(\w+):\?", text)) <= example


def test_instances_have_the_settings_that_the_command_writes(tmp_path: Path) -> None:
    home = Path(dagster_environment(Settings(data=tmp_path, store=tmp_path / "store"))["DAGSTER_HOME"])
    own, team, chart = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8")), _yaml("dagster.yaml"), _yaml("helm-values.yaml")
    own["concurrency"]["runs"] = team["concurrency"]["runs"]  # the limit of the machine
    assert own.items() <= team.items()
    assert chart["concurrency"]["pools"] == own["concurrency"]["pools"]
    assert chart["scheduler"]["config"]["daemonScheduler"]["maxTickRetries"] == own["scheduler"]["config"]["max_tick_retries"]
    assert chart["pythonLogs"]["managedPythonLoggers"] == own["python_logs"]["managed_python_loggers"]


def test_chart_mounts_declarations_where_they_are_read_and_has_the_version_of_the_image() -> None:
    (code,) = _yaml("helm-values.yaml")["dagster-user-deployments"]["deployments"]
    (data,) = code["volumes"]
    page = (REPOSITORY / "docs" / "deploying.md").read_text(encoding="utf-8")
    assert all(f"--from-file=data/{item['path']}" in page for item in data["configMap"]["items"])
    assert {"name": "PHYAGI_ASSETS_DATA", "value": code["volumeMounts"][0]["mountPath"]} in code["env"]
    pins = dict(re.findall(r"^(\S+)==(.*)$", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert f"--version {pins['dagster']} " in page
    libraries = re.findall(r"'dagster-(\w+)==(.*?)'", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    assert libraries == [(name, pins["dagster-postgres"]) for name in ("postgres", "k8s")]


def test_image_is_built_from_the_files_that_it_copies_alone() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    assert "*" in ignored
    assert copied == {pattern[1:] for pattern in ignored if pattern.startswith("!")}
    assert all((REPOSITORY / name).exists() for name in copied)


def test_every_file_is_described() -> None:
    page = (REPOSITORY / "docs" / "deploying.md").read_text(encoding="utf-8")
    assert all(f"`deploy/{path.name}`" in page for path in DEPLOY.iterdir() if path.is_file())


def test_chart_starts_the_code_server_as_the_services_do() -> None:
    (code,) = _yaml("helm-values.yaml")["dagster-user-deployments"]["deployments"]
    words = _yaml("compose.yaml")["services"]["code"]["command"]
    assert " ".join(code["dagsterApiGrpcArgs"]) in words
    assert str(code["port"]) in words


@pytest.fixture
def team(tmp_path: Path, prepared_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A data folder, and the instance of `deploy/dagster.yaml` on a Postgres server."""
    data, home = tmp_path / "data", tmp_path / "instance"
    write_text(data / "raw" / "hamlet.txt", PLAY)
    declare_corpus(data, "plays", "raw/*.txt", partition_by="file")
    copy_store(prepared_store, data / "store")
    home.mkdir()
    shutil.copy(DEPLOY / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with postgres_server(tmp_path / "postgres") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield Settings(data=data, store=data / "store")


def test_command_records_its_builds_in_postgres(team: Settings) -> None:
    import dagster as dg

    done = command("materialize", "--data", team.data, cwd=team.data)
    assert done.stdout.splitlines()[-1] == "1 built, 0 up to date, 0 failed", done.stdout + done.stderr
    with dg.DagsterInstance.from_config(str(team.dagster_home)) as instance:
        assert type(instance.event_log_storage).__module__.startswith("dagster_postgres")
        assert instance.get_materialized_partitions(dg.AssetKey(["plays", "numpy_cache"])) == {"hamlet"}
    assert not list(team.dagster_home.rglob("*.db"))


def test_ui_and_its_daemon_work_on_postgres(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("soak"):
        pytest.skip("starts a web server and a daemon; part of make soak")
    team: Settings = request.getfixturevalue("team")
    with live_dagster(team, cwd=team.data) as running:
        _wait_for_a_tick(running)
        run = running.launch(["plays", "raw_dataset"], partition="hamlet")
        assert running.status(run) == "SUCCESS"
        assert [found["partition"] for found in running.materializations("plays", "raw_dataset")] == ["hamlet"]


def _wait_for_a_tick(running: LiveDagster) -> None:
    query = 'query { assetNodeOrError(assetKey: {path: ["plays", "raw_dataset"]}) { ... on AssetNode { partitionKeys } } }'
    deadline = time.monotonic() + 90
    while running.query(query)["assetNodeOrError"]["partitionKeys"] != ["hamlet"]:
        assert time.monotonic() < deadline, running.log[-3000:]
        time.sleep(0.5)
