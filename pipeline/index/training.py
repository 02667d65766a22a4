"""Training the grid of an index, once."""

from pipeline.index.hashing import train_hash
from pipeline.index.ivf import train_ivf

TRAINERS = {"ivf": train_ivf, "hash": train_hash}
