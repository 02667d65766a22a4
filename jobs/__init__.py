"""Sluice's commands, a file each: jobs/NAME.py is ``sluice NAME``."""

__version__ = "0.1.0"
