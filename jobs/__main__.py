"""The command line: ``sluice COMMAND``, equal to ``python -m jobs COMMAND``."""

import os
import sys

from jobs.stopping import Stopped, leave, stop_on_signals


def main() -> None:
    """Run the command line until it ends, or a signal asks for the end."""
    try:
        stop_on_signals()
        run()
    except Stopped as stopped:
        leave(stopped.number)


def run() -> None:
    """Run the command line; a user's mistake is one message on standard error, no traceback."""
    # Else pydantic looks through all installed packages for plugins of its own.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from jobs.commands import sluice
    from pipeline.core.errors import SluiceError

    try:
        sluice(prog_name="sluice")
    except SluiceError as error:
        from jobs.console import print_error

        print_error(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
