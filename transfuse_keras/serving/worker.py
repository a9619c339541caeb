"""The worker process of models: started, asked, and replaced when a file breaks or stops it.

Files come from anywhere, and the libraries that decode them are large and native. In a process of
its own, none of them can take the server with it.
"""

import logging
import multiprocessing
import threading

from transfuse_keras.errors import Failure, InputError
from transfuse_keras.serving.job import work

log = logging.getLogger(__name__)

SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
MOST_WAITING = 32  # requests


class Busy(Failure):
    """More requests wait than the server will ever answer in time."""


class TooLong(Failure):
    """A prediction took longer than it may."""


class Worker:
    """One process that holds a model, or several that are averaged.

    Args:
        models: list of paths, as of `load_predictor`.
        seconds: that a prediction may take.

    Raises: InputError if one cannot be used.
    """

    def __init__(self, models, seconds):
        self.models, self.seconds = list(map(str, models)), seconds
        self.lock, self.places = threading.Lock(), threading.Semaphore(MOST_WAITING)
        self.start()

    def start(self):
        self.pipe, end = SPAWN.Pipe()
        self.process = SPAWN.Process(target=work, args=(self.models, end), daemon=True)
        self.process.start()
        end.close()  # so that the end of the process is the end of the pipe
        try:
            kind, sentence = self.pipe.recv()
        except EOFError:
            raise Failure(f"{self.models[0]}: the process that loads it ended.") from None
        if kind == "refused":
            raise InputError(sentence)

    def stop(self):
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def ask(self, folder, seg, measure):
        """What `predict_request` gives for a folder. Threads may ask together; one waits for
        another.

        Raises: InputError if a file cannot be used or broke the process; TooLong; Busy.
        """
        if not self.places.acquire(blocking=False):
            raise Busy(f"{MOST_WAITING} requests are waiting; try again later.")
        try:
            with self.lock:
                return self.ask_alone(folder, seg, measure)
        finally:
            self.places.release()

    def ask_alone(self, folder, *options):
        for _ in range(2):  # a process may also be ended from outside, by a system short of memory
            try:
                self.pipe.send((str(folder), *options))
                if self.pipe.poll(self.seconds):
                    kind, content = self.pipe.recv()
                    break
            except (EOFError, ConnectionError):
                self.restart("it had ended")
            else:
                self.restart(f"a request took more than {self.seconds:g} s")
                raise TooLong(f"The prediction took more than {self.seconds:g} s and was stopped.")
        else:
            raise InputError("This file broke the program that reads it, twice.")
        if kind == "refused":
            raise InputError(content)
        return content

    def restart(self, reason):
        log.warning(f"The worker process is started again: {reason}.")
        self.stop()
        self.start()
