"""Entry point of the command ``phyagi-assets``, and of ``python -m phyagi_assets``."""

import os
import signal
import sys


def main() -> None:
    """Import the command, which takes a while, and run it.

    Ctrl-C ends the process without a traceback even during the import.
    """
    _open_closed_streams()
    # NumPy's linear algebra library, which is not used here, would start a thread per processor that spins for a tenth of a second.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a job in the background ignores the signal
    if is_usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from phyagi_assets.cli import main as command

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command(prog_name="phyagi-assets")


def _open_closed_streams() -> None:
    """Open the null device in place of closed standard streams; a file of the store that got their descriptor would receive the output."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)  # for the processes that the command starts
            setattr(sys, name, os.fdopen(descriptor, mode))


if __name__ == "__main__":
    main()
