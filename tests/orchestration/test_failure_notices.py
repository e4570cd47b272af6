"""Notices of failed runs reach a webhook and a mail server."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.orchestration.failure_notices import SENSOR, NoticeSettings, failure_sensors, notice, send
from phyagi_assets.orchestration.names import COMMAND, LAUNCHED_BY


class _Webhook:
    """A server that stores the bodies of POST requests, and answers with a status."""

    def __init__(self) -> None:
        self.status, self.posted = 200, list[Any]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/s3cr3t"


@pytest.fixture
def webhook() -> Iterator[_Webhook]:
    made = _Webhook()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def mailbox() -> Iterator[tuple[str, list[str]]]:
    """The address of a mail server for one message, and the lines that it gets."""
    listening, lines = socket.create_server(("127.0.0.1", 0)), list[str]()

    def serve() -> None:
        with listening, listening.accept()[0] as connection, connection.makefile("rw", newline="\r\n") as client:

            def say(answer: str) -> None:
                client.write(f"{answer}\n")
                client.flush()

            say("220 ready")
            in_message = False
            for line in client:
                lines.append(line.rstrip("\r\n"))
                if in_message:
                    in_message = lines[-1] != "."
                    if not in_message:
                        say("250 kept")
                elif lines[-1].upper() == "DATA":
                    in_message = True
                    say("354 go on")
                elif lines[-1].upper() == "QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 ok")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listening.getsockname()[1]}", lines
    thread.join(5)


@dg.op
def breaks() -> None:
    raise dg.Failure("partition 2026-11-21: line 3 is not JSON")


@dg.job
def nightly() -> None:
    breaks()


def _fail(sensor: dg.SensorDefinition, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
    """Record a failed run, and evaluate the sensor."""
    with dg.DagsterInstance.ephemeral() as instance:
        done = nightly.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
        context = dg.build_run_status_sensor_context(
            sensor_name=SENSOR,
            dagster_instance=instance,
            dagster_run=done.dagster_run,
            dagster_event=next(event for event in done.all_events if event.is_job_failure),
        )
        sensor(context.for_run_failure())
        return done


def test_failed_run_is_reported_to_the_webhook_with_its_error_and_a_link(webhook: _Webhook) -> None:
    (sensor,) = failure_sensors({"PHYAGI_ASSETS_WEBHOOK": webhook.url, "PHYAGI_ASSETS_UI": "https://dagster.example/"})
    assert (sensor.name, sensor.default_status) == (SENSOR, dg.DefaultSensorStatus.RUNNING)
    done = _fail(sensor, {})
    (posted,) = webhook.posted
    reason = "partition 2026-11-21: line 3 is not JSON"
    link = f"https://dagster.example/runs/{done.run_id}"
    assert posted["text"] == f"phyagi-assets: run {done.run_id[:8]} of nightly failed: {reason}\n{link}"


def test_failed_run_of_the_command_is_not_reported(webhook: _Webhook) -> None:
    (sensor,) = failure_sensors({"PHYAGI_ASSETS_WEBHOOK": webhook.url})
    _fail(sensor, {LAUNCHED_BY: COMMAND})
    assert webhook.posted == []


def test_notice_of_a_run_of_assets_names_them_and_the_partition() -> None:
    chosen = frozenset(dg.AssetKey(["plays", step]) for step in ("raw_dataset", "numpy_cache"))
    run = dg.DagsterRun(job_name="__ASSET_JOB", run_id="0123456789", asset_selection=chosen, tags={"dagster/partition": "hamlet"})
    assert notice(run, "no", "") == "phyagi-assets: run 01234567 of plays/numpy_cache, plays/raw_dataset (hamlet) failed: no"


def test_notice_is_sent_by_mail(mailbox: tuple[str, list[str]]) -> None:
    server, lines = mailbox
    settings = NoticeSettings.of({"PHYAGI_ASSETS_EMAIL": "a@b.org, c@d.org", "PHYAGI_ASSETS_SMTP": server})
    send(settings, "run 1 failed\ndetails")
    assert {"To: a@b.org, c@d.org", "Subject: run 1 failed", "details"} <= set(lines)
    assert [line.lower() for line in lines if line.lower().startswith("rcpt")] == ["rcpt to:<a@b.org>", "rcpt to:<c@d.org>"]


def test_webhook_that_cannot_be_used_does_not_stop_mail(mailbox: tuple[str, list[str]]) -> None:
    server, lines = mailbox
    address = {"PHYAGI_ASSETS_WEBHOOK": "https://hooks.example:s3cr3t/", "PHYAGI_ASSETS_EMAIL": "a@b.org", "PHYAGI_ASSETS_SMTP": server}
    with pytest.raises(PhyagiAssetsError, match=r"^\$PHYAGI_ASSETS_WEBHOOK: the server failed \(InvalidURL\); the notice was not sent$"):
        send(NoticeSettings.of(address), "run 1\rfailed")
    assert "Subject: run 1" in lines


def test_server_that_refuses_is_named_without_its_address(webhook: _Webhook) -> None:
    webhook.status = 403
    with pytest.raises(PhyagiAssetsError, match=r"^\$PHYAGI_ASSETS_WEBHOOK: the server answered 403; the notice was not sent$"):
        send(NoticeSettings.of({"PHYAGI_ASSETS_WEBHOOK": webhook.url}), "run 1 failed")
    webhook.server.shutdown()
    webhook.server.server_close()
    with pytest.raises(PhyagiAssetsError, match=r"the server failed \(URLError\)") as gone:
        send(NoticeSettings.of({"PHYAGI_ASSETS_WEBHOOK": webhook.url}), "run 1 failed")
    assert "s3cr3t" not in str(gone.value)


@pytest.mark.parametrize(
    ("variable", "value", "refusal"),
    [
        (
            "PHYAGI_ASSETS_WEBHOOK",
            "hooks.example/s3cr3t",
            r"\$PHYAGI_ASSETS_WEBHOOK: is not a web address; it begins with https:// and has",
        ),
        (
            "PHYAGI_ASSETS_WEBHOOK",
            "https://[::1/s3 cr3t",
            r"\$PHYAGI_ASSETS_WEBHOOK: is not a web address; it begins with https:// and has",
        ),
        ("PHYAGI_ASSETS_EMAIL", "a@b.org, team", r"\$PHYAGI_ASSETS_EMAIL: 'team' is not an e-mail address"),
        ("PHYAGI_ASSETS_SMTP", "mail", r"\$PHYAGI_ASSETS_SMTP: 'mail' has no port; write HOST:PORT"),
    ],
)
def test_invalid_setting_raises_an_error_with_its_variable(variable: str, value: str, refusal: str) -> None:
    with pytest.raises(PhyagiAssetsError, match=refusal):
        failure_sensors({variable: value})


def test_without_settings_there_is_no_sensor() -> None:
    assert failure_sensors({}) == []
