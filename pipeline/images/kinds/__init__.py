"""The kinds of source: a new one is a file beside this one, and a line here."""

from pipeline.images.kinds.folder import FOLDER
from pipeline.images.kinds.kind import SourceKind
from pipeline.images.kinds.parquet import PARQUET
from pipeline.images.kinds.paths import PATHS
from pipeline.images.kinds.webdataset import WEBDATASET

KINDS: dict[str, SourceKind] = {
    "parquet": PARQUET,
    "webdataset": WEBDATASET,
    "folder": FOLDER,
    "paths": PATHS,
}
