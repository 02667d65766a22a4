"""One image that kills or hangs its worker costs itself only.

An attempt at a shard notes which image it decodes. Where one died, the next tries the images that
were being decoded in a process of their own; once one of them proves bad, so does every later image
of the shard, and after a second death every image: two more shard times, at most. All that pass are
decoded as ever, so that their vectors are those of a run in peace.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.images.deadline import Deadline
from pipeline.images.formats import MAX_PIXELS
from pipeline.images.trial import Trial

ATTEMPTS = 3  # of one run at one shard


class Guard:
    """Watches over the images of one attempt at a shard of ``store``.

    Images are tried for squares of ``size``. Raises InputError where the shard, of ``manifest``,
    has ended its worker too often, StoreError where nothing can be noted.
    """

    def __init__(
        self,
        store: Store,
        manifest: pa.Table,
        shard: int,
        size: int,
        seconds: float,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.open = ExitStack()
        self.attempt = store.attempts.begin(shard)
        self.open.callback(self.attempt.close)
        self.past = self.attempt.past
        if self.past.attempts_now >= ATTEMPTS:
            self.open.close()
            raise _too_often(f"shard {shard} of {store.root}", manifest, shard)
        self.trial = Trial(size, seconds, max_pixels)
        self.deadline = Deadline(seconds, self._note_late)
        self.refused = self.past.refused | {
            image: f"too-slow: took more than {seconds:g} s to decode, twice"
            for image, allowed in self.past.late.items()
            if len([each for each in allowed if each >= seconds]) > 1
        }
        self.try_all = self.past.attempts > 1 or bool(self.refused)

    def __enter__(self) -> "Guard":
        self.open.callback(self.trial.close)
        self.open.enter_context(self.deadline)
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    @contextmanager
    def watched(self, image: int, key: str) -> Iterator[None]:
        """Note that an image is being decoded, for the length of the block, and bound its time."""
        self.attempt.note("begun", image)
        try:
            with self.deadline.of(image, key):
                yield
        finally:
            self.attempt.note("ended", image)

    def checked(self, batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield the tables of read_batches, the images that must not be decoded marked refused."""
        for batch in batches:
            yield self._marked(batch) if self.past.attempts else batch

    def _marked(self, batch: pa.Table) -> pa.Table:
        told = [
            self._verdict(row["id"], batch["bytes"][place], row["refused"])
            for place, row in enumerate(batch.select(["id", "refused"]).to_pylist())
        ]
        refused = pc.coalesce(pa.array(told, pa.string()), batch["refused"])
        return batch.set_column(batch.column_names.index("refused"), "refused", refused)

    def _verdict(self, image: int, data: pa.Scalar, refused: str | None) -> str | None:
        suspect = self.try_all or image in self.past.begun
        if image in self.refused or refused or not data.is_valid or not suspect:
            return self.refused.get(image)
        told = self.trial.verdict(data.as_py())
        if told:
            self.refused[image] = told
            self.try_all = True
        if told and told.startswith("too-slow"):
            self._note_late(image)  # another run may allow it more
        elif told:
            self.attempt.note("refused", image, told)
        return told

    def _note_late(self, image: int) -> None:
        self.attempt.note("late", image, str(self.trial.seconds))


def _too_often(where: str, manifest: pa.Table, shard: int) -> InputError:
    paths = manifest.filter(pc.equal(manifest["shard"], shard))["path"]
    ends = f" ({paths[0]} to {paths[-1]})" if len(paths) else ""
    return InputError(
        f"{where}{ends} ended its worker {ATTEMPTS} times, though every image of it decodes alone; "
        "give a worker more memory (fewer ray.workers), or leave its files out by source.exclude"
    )
