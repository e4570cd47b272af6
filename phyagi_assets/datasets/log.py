"""Log messages of the library in a notebook or script that has not set up logging of its own."""

import logging
import sys

FORMAT = "[phyagi_assets] [%(asctime)s] [%(levelname)s] [%(filename)s:%(lineno)d:%(funcName)s] %(message)s"


class NotebookHandler(logging.Handler):
    """Writes to stderr as long as the root logger has no handler: a program that has set up logging gets each message once, there."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        if not logging.getLogger().handlers:
            sys.stderr.write(f"{self.format(record)}\n")


def tell(name: str) -> None:
    """Let the loggers below a name show messages of level INFO, unless the user has set their level."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not any(isinstance(handler, NotebookHandler) for handler in logger.handlers):
        logger.addHandler(NotebookHandler())
