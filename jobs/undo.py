"""`sluice undo`: put back what sluice apply has moved, linked or deleted."""

from jobs.config import Config
from jobs.console import console, print_table
from jobs.progress import bar
from pipeline.core.progress import told_of
from pipeline.core.store import Store
from pipeline.dedup.acting import put_back
from pipeline.dedup.applied import applied, mark_undone


def command(config: Config) -> None:
    """Put back what sluice apply has done, the last first.

    OUTPUT is that of sluice dedup. Moved files come back, links become files again with the bytes
    of the image kept, which are theirs; so do deleted ones where it had the same bytes. What cannot
    be put back is counted, with the reason.
    """
    store = Store.open(config.dedup.output.resolve(), "pairs")
    with store.lock():
        begun = applied(store)
        for one in begun:
            with bar("undo", one.steps.num_rows, "img", 1) as shown, told_of(0, shown.heard):
                outcome = put_back(one.steps, one.action)
            if not outcome.left():  # else it can be tried again
                mark_undone(store, one.name)
            rows = [("images that are back", outcome.done), *outcome.left()]
            print_table(f"{one.name}: {one.action}", ("what", "value"), rows)
    if not begun:
        console.print(f"nothing of {store.root} is applied, or all of it is undone")
