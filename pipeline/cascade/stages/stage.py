"""What there is to know of a stage of a cascade."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the configuration reads the stages, and needs no array for that
    import pyarrow as pa

    from pipeline.core.arrays import AnyArray
    from pipeline.embedding.settings import EncoderSettings


@dataclass(frozen=True)
class Network:
    """What makes a stage's feature of an image when a query first needs it; it is kept then."""

    column: str  # its name in tables of features
    settings: "Callable[[EncoderSettings], EncoderSettings]"  # its own, given the CNN's


@dataclass(frozen=True)
class Stage:
    """A stage: by what it tells the images that the next one need not see.

    One with ``numbers`` compares codes that a filter, fitted to the CNN, predicts of them; one with
    ``embeddings`` compares codes of those. Its cost is the network's where it has one, else that of
    making codes and comparing them, or of comparing alone where codes are kept (``embeddings``).
    """

    name: str
    where: bool = False  # takes comparisons with the images' other columns
    numbers: "Callable[[pa.Table], AnyArray] | None" = None  # of features (n,): whole, (n, f)
    network: Network | None = None
    embeddings: bool = False  # those of all images must be there: the CNN runs on none

    @property
    def filters(self) -> bool:
        """Return whether it keeps a share of the images, by their codes."""
        return self.numbers is not None or self.embeddings
