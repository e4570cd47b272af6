"""The log of the UI's processes, in which errors that a user can correct have no tracebacks.

Dagster logs the traceback of every failed tick and of every failed access to its databases: while the disk is full, twenty thousand lines
per minute.
"""

import logging
import os
import re
from typing import Any

from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_shared.error import SerializableErrorInfo

from phyagi_assets.orchestration.databases import causes, database_failure_message

_FOR_USERS = re.compile(r"^(?:dagster\._core\.definitions\.events\.Failure|phyagi_assets\.errors\.\w+): (.+)", re.DOTALL)
"""Message of an error that is written for users, after its class."""


def shorten_failures() -> None:
    """Log errors that a user can correct without tracebacks, from now on in this process."""
    logging.setLogRecordFactory(_record)


def _record(*arguments: Any, **options: Any) -> logging.LogRecord:
    record = logging.LogRecord(*arguments, **options)
    if record.exc_info and record.exc_info[1]:
        kind, problem, trace = record.exc_info
        if trace and (message := user_message(serializable_error_info_from_exc_info((kind, problem, trace)))):
            record.msg, record.args, record.exc_info = "%s: %s", (record.getMessage(), message), None
    elif isinstance(record.args, tuple):
        record.args = tuple(user_message(value) or value if isinstance(value, SerializableErrorInfo) else value for value in record.args)
    return record


def user_message(error: SerializableErrorInfo) -> str:
    """Return the message for the user about a failure; empty if it has none, so that the traceback is needed."""
    for_users = next((found[1].strip() for cause in causes(error) if (found := _FOR_USERS.match(cause.message))), "")
    return for_users or database_failure_message(error, os.environ.get("DAGSTER_HOME", ""))
