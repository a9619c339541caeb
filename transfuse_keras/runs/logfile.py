"""log.txt: what was logged while a run or an evaluation was made, in its folder."""

import logging
from contextlib import contextmanager

LOG = "log.txt"
PACKAGE_LOG = logging.getLogger("transfuse_keras")


class FolderLog(logging.Handler):
    """Keeps what is logged until it is told the folder, then appends all of it to log.txt there."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.path, self.waiting = None, []

    def emit(self, record):
        self.waiting.append(self.format(record) + "\n")
        self.write()

    def write(self):
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(self.waiting)
        except OSError:
            return  # of a full disk the run itself tells
        self.waiting.clear()


@contextmanager
def logging_to_folder():
    """Within this context, or a function that it decorates, `begin_log` decides where log.txt is.

    An exception is logged there too.
    """
    handler = FolderLog()
    PACKAGE_LOG.addHandler(handler)
    try:
        yield
    except BaseException as error:
        reason = f"ended by {type(error).__name__}: {error}"
        handler.handle(PACKAGE_LOG.makeRecord(__name__, logging.ERROR, "", 0, reason, (), None))
        raise
    finally:
        PACKAGE_LOG.removeHandler(handler)


def begin_log(folder):
    """From now on write what the package logs to log.txt in a folder, which exists.

    What was logged before, since `logging_to_folder`, comes first. Outside of that context nothing
    is written.
    """
    for handler in PACKAGE_LOG.handlers:
        if isinstance(handler, FolderLog):
            handler.path = folder / LOG
            handler.write()
