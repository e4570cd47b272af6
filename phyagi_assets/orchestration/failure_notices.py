"""Notices of failed runs: a message to a webhook, or by e-mail.

Environment variables name the recipients; without them, no notices are sent. The address of a webhook is a secret, which no message and no
log contains.
"""

import json
import os
import re
import smtplib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage

import dagster as dg

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import listed
from phyagi_assets.orchestration.names import COMMAND, LAUNCHED_BY

WEBHOOK_VARIABLE = "PHYAGI_ASSETS_WEBHOOK"
EMAIL_VARIABLE = "PHYAGI_ASSETS_EMAIL"
SMTP_VARIABLE = "PHYAGI_ASSETS_SMTP"
UI_VARIABLE = "PHYAGI_ASSETS_UI"
_WEB_ADDRESS = re.compile(r"(?i)https?://[!-~]+")
SENSOR = "report_failed_runs"
_TIMEOUT = 10.0
"""Longest wait for a server, in seconds."""
_LONGEST = 1500
"""Largest number of characters of an error in a notice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoticeSettings:
    """Recipients of the notices of failed runs."""

    webhook: str = ""
    """Address that takes a JSON object with a ``text``, as Slack, Mattermost and Teams do."""
    recipients: tuple[str, ...] = ()
    """E-mail addresses."""
    smtp: str = "localhost:25"
    """Host and port of the mail server."""
    ui: str = ""
    """Address of the UI, for a link to the run."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "NoticeSettings":
        """Read the settings from environment variables.

        Raises
        ------
        PhyagiAssetsError
            An address is not valid; the message names the variable.
        """
        webhook = environment.get(WEBHOOK_VARIABLE, "")
        if webhook and not _WEB_ADDRESS.fullmatch(webhook):
            raise PhyagiAssetsError(f"${WEBHOOK_VARIABLE}: is not a web address; it begins with https:// and has only ASCII characters")
        recipients = tuple(address.strip() for address in environment.get(EMAIL_VARIABLE, "").split(",") if address.strip())
        if wrong := next((address for address in recipients if "@" not in address), None):
            raise PhyagiAssetsError(f"${EMAIL_VARIABLE}: {wrong!r} is not an e-mail address; separate several by commas")
        smtp = environment.get(SMTP_VARIABLE) or "localhost:25"
        if not smtp.rpartition(":")[2].isdecimal():
            raise PhyagiAssetsError(f"${SMTP_VARIABLE}: {smtp!r} has no port; write HOST:PORT")
        return cls(webhook=webhook, recipients=recipients, smtp=smtp, ui=environment.get(UI_VARIABLE, "").rstrip("/"))

    @property
    def is_on(self) -> bool:
        """Whether there are recipients."""
        return bool(self.webhook or self.recipients)


def failure_sensors(environment: Mapping[str, str] | None = None) -> list[dg.SensorDefinition]:
    """Return the sensor that reports failed runs, which is on by default, or nothing if the environment names no recipients."""
    settings = NoticeSettings.of(os.environ if environment is None else environment)
    if not settings.is_on:
        return []

    @dg.run_failure_sensor(name=SENSOR, description="Sends a notice of each run that fails.", default_status=dg.DefaultSensorStatus.RUNNING)
    def report_failed_runs(context: dg.RunFailureSensorContext) -> None:
        if context.dagster_run.tags.get(LAUNCHED_BY) != COMMAND:  # which prints the reason
            send(settings, notice(context.dagster_run, _reason(context), settings.ui))

    return [report_failed_runs]


def notice(run: dg.DagsterRun, error: str, ui: str) -> str:
    """Return the text about a failed run: its job or assets, the error, and a link."""
    shown = error if len(error) <= _LONGEST else f"{error[:_LONGEST]}…"
    link = f"\n{ui}/runs/{run.run_id}" if ui else ""
    return f"phyagi-assets: run {run.run_id[:8]} of {_built(run)} failed: {shown}{link}"


def _reason(context: dg.RunFailureSensorContext) -> str:
    """Return the errors of the steps that failed, or that of the run if no step did, as when it could not start."""
    failures = [event.step_failure_data for event in context.get_step_failure_events()]
    reasons = [
        (failure.user_failure_data.description if failure.user_failure_data else "") or (failure.error.message if failure.error else "")
        for failure in failures
    ]
    return "\n".join(found.strip() for found in reasons if found) or context.failure_event.message or ""


def _built(run: dg.DagsterRun) -> str:
    """Return the name of the job of a run, or its selected assets if Dagster made the job for them."""
    if not run.asset_selection or not run.job_name.startswith("__"):
        return run.job_name
    names = sorted(key.to_user_string() for key in run.asset_selection)
    partition = run.tags.get("dagster/partition")
    return listed(names, 3) + (f" ({partition})" if partition else "")


def send(settings: NoticeSettings, text: str) -> None:
    """Send a text to the webhook and by e-mail.

    Raises
    ------
    PhyagiAssetsError
        A server did not accept the text; the others got it.
    """
    problems = []
    for name, deliver in ((WEBHOOK_VARIABLE, _post), (EMAIL_VARIABLE, _mail)):
        try:
            deliver(settings, text)
        except Exception as problem:  # Python's clients raise all kinds, whose messages may contain the address
            answered = f"answered {problem.code}" if isinstance(problem, urllib.error.HTTPError) else f"failed ({type(problem).__name__})"
            problems.append(f"${name}: the server {answered}")
    if problems:
        raise PhyagiAssetsError(f"{'; '.join(problems)}; the notice was not sent") from None


def _post(settings: NoticeSettings, text: str) -> None:
    if settings.webhook:
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(settings.webhook, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT):
            pass


def _mail(settings: NoticeSettings, text: str) -> None:
    if not settings.recipients:
        return
    message = EmailMessage()
    message["Subject"] = text.splitlines()[0][:120]
    message["From"] = settings.recipients[0]
    message["To"] = ", ".join(settings.recipients)
    message.set_content(text)
    host, _, port = settings.smtp.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=_TIMEOUT) as server:
        server.send_message(message)
