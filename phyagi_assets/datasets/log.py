"""Log output of the library in notebooks and scripts that do not configure logging."""

import logging
import sys

FORMAT = "[phyagi_assets] [%(asctime)s] [%(levelname)s] [%(filename)s:%(lineno)d:%(funcName)s] %(message)s"


class NotebookHandler(logging.Handler):
    """Handler that writes to stderr while the root logger has no handler, so that programs that configure logging get each message once."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        if not logging.getLogger().handlers:
            sys.stderr.write(f"{self.format(record)}\n")


def show_messages(name: str) -> None:
    """Show messages of level INFO from the loggers below a name, unless the user has set their level."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not any(isinstance(handler, NotebookHandler) for handler in logger.handlers):
        logger.addHandler(NotebookHandler())
