"""Sluice from Python: what the commands do, with tables for answers.

Each function takes its command's flags as keywords (``sluice embed --help``), and ``settings`` for
any other; it raises SluiceError with what the command would have said.
"""

from pipeline.core.errors import SluiceError
from pipeline.core.origin import VERSION
from pipeline.embedding.embedder import Embedder
from sluice.commands import Duplicates, dedup, embed, search
from sluice.exports import to_faiss, to_fiftyone, to_huggingface, to_lance
from sluice.stored import Embeddings, read_store

__version__ = VERSION
__all__ = [
    "Duplicates",
    "Embedder",
    "Embeddings",
    "SluiceError",
    "__version__",
    "dedup",
    "embed",
    "read_store",
    "search",
    "to_faiss",
    "to_fiftyone",
    "to_huggingface",
    "to_lance",
]
