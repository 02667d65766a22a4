"""The errors a user can cause and mend; each carries the exit code a script can act on."""


class SluiceError(Exception):
    """A mistake outside the program: the message names the thing, the reason and the remedy."""

    exit_code = 1


class ConfigError(SluiceError):
    """The configuration is wrong; nothing was started."""

    exit_code = 2


class InputError(SluiceError):
    """A source, a store, a query or a weights file is missing or unusable."""

    exit_code = 3


class StoreError(SluiceError):
    """A store is damaged, locked, of another format, or made with other settings."""

    exit_code = 4


class DeadlineError(SluiceError):
    """What was asked for cannot be had in the time given."""

    exit_code = 6


class LostError(SluiceError):
    """What the work ran on was lost meanwhile; the same command goes on."""

    exit_code = 5
