"""The command line, in this process."""

from click.testing import CliRunner, Result

from jobs.commands import sluice


def run(*arguments: object) -> Result:
    """Return what ``sluice ARGUMENTS`` printed and raised."""
    return CliRunner().invoke(sluice, [str(argument) for argument in arguments])
