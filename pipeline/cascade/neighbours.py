"""Whose recall a cascade promises."""

from typing import Literal

Neighbours = Literal["semantic", "copies"]
CALLED: dict[Neighbours, str] = {"semantic": "semantic neighbours", "copies": "copies"}
