"""Entry point of the command ``phyagi-assets``, and of ``python -m phyagi_assets``."""

import signal


def main() -> None:
    """Import the command, which takes a while, and run it.

    Ctrl-C ends the process without a traceback even during the import.
    """
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a job in the background ignores the signal
    if is_usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from phyagi_assets.cli import main as command

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command(prog_name="phyagi-assets")


if __name__ == "__main__":
    main()
