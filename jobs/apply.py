"""`sluice apply`: move, link or delete the images a deduplication would drop."""

import json
from pathlib import Path

import pyarrow as pa

from jobs.config import Config
from jobs.console import console, print_table
from jobs.progress import bar
from pipeline.core.errors import InputError
from pipeline.core.folder import Place
from pipeline.core.progress import told_of
from pipeline.core.store import Store
from pipeline.dedup.acting import Action, Outcome, act, steps_of, tell
from pipeline.dedup.applied import begin
from pipeline.dedup.results import read_results
from pipeline.dedup.verdicts import read_verdicts, refuse_rejected

DOES = {
    "move": "moved",
    "hard": "replaced by hard links",
    "sym": "replaced by symbolic links",
    "delete": "deleted",
}


def command(config: Config) -> None:
    """Move, link or delete what a deduplication would drop.

    OUTPUT is that of sluice dedup. Without --move, --link or --delete all files are checked and
    none is touched. A file is touched only while its bytes, and those of the image kept, are the
    ones that were compared. sluice undo puts everything back.
    """
    root, action = config.dedup.output.resolve(), config.apply.action()
    folder = config.apply.move and config.apply.move.resolve()
    _, groups = read_results(root)
    if "path" not in groups.column_names:
        raise InputError(
            f"the images of {root} are not files of their own in a folder: there is nothing to "
            "act on; attached/groups.parquet names them"
        )
    store = Store.open(root, "pairs")
    refuse_rejected(groups, read_verdicts(store))
    _refuse_remote(groups)
    if folder:
        _refuse_inside(groups, folder)
    steps = steps_of(groups, folder)
    with bar("apply", steps.num_rows, "img", 1) as shown, told_of(0, shown.heard):
        if action:
            with store.lock():
                outcome = act(begin(store, steps, action), action)
        else:
            outcome = tell(steps, "delete")
    _print(root, outcome, action)


def _refuse_remote(groups: pa.Table) -> None:
    for url in json.loads(groups.schema.metadata[b"folders"]):
        if "://" in url and not url.startswith(("file://", "local://")):
            raise InputError(
                f"{url} is on an object store, where sluice apply does not act yet; "
                "drop.txt beside the results names what to drop"
            )


def _refuse_inside(groups: pa.Table, folder: Path) -> None:
    for url in json.loads(groups.schema.metadata[b"folders"]):
        source = Path(url.partition("://")[2] or url).resolve()
        if folder.is_relative_to(source):
            raise InputError(
                f"{folder} lies in {source}, so that what is moved there would be embedded "
                "again; name a folder outside of it"
            )


def _print(root: Place, outcome: Outcome, action: Action | None) -> None:
    done = DOES[action] if action else "would be dropped; none was touched"
    rows = [(f"images {done}", outcome.done), ("their bytes", outcome.bytes)]
    rows += [(f"left alone: {reason}", n) for reason, n in outcome.left()]
    print_table(f"near-duplicates: {root}", ("what", "value"), rows)
    console.print(
        f"sluice undo {root} puts everything back"
        if action
        else "say --move FOLDER, --link hard, --link sym or --delete"
    )
