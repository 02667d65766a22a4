"""`sluice apply`: move, link or delete the images a deduplication would drop."""

import json

import pyarrow as pa

from jobs.config import Config
from jobs.console import console, print_table
from jobs.progress import bar
from pipeline.core.errors import InputError
from pipeline.core.folder import Place, place
from pipeline.core.objects import ObjectPath
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
    _refuse_elsewhere(groups, folder)
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


def _refuse_elsewhere(groups: pa.Table, folder: Place | None) -> None:
    """Raise InputError where files are what cannot be acted on, or would go to another kind."""
    for url in json.loads(groups.schema.metadata[b"folders"]):
        source = place(url)
        if folder is not None and type(source.resolve()) is not type(folder):
            kind = "an object store" if isinstance(source, ObjectPath) else "a folder"
            raise InputError(f"{url} is on {kind}; name a place on one to move its images to")


def _refuse_inside(groups: pa.Table, folder: Place) -> None:
    for url in json.loads(groups.schema.metadata[b"folders"]):
        source = place(url).resolve()
        if f"{folder}/".startswith(f"{source}/"):
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
