"""Sluice's commands, a file each: jobs/NAME.py is ``sluice NAME``."""

from pipeline.core.origin import VERSION

__version__ = VERSION
