"""A bar on the terminal that tells how much is left."""

import sys


def with_progress(count, what, at_once=1):
    """The numbers 0, at_once, 2 * at_once ... below `count`; on a terminal with a bar, and with how
    many of `what` are left."""
    steps = range(0, count, at_once)
    if len(steps) < 2 or not sys.stdout.isatty():
        yield from steps
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    left = TextColumn("{task.fields[left]} " + what + " left")
    with Progress(TextColumn("Predicting"), BarColumn(), left, TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=count, left=count)
        for start in steps:
            yield start
            done = min(start + at_once, count)
            bar.update(task, completed=done, left=count - done)
