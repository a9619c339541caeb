"""OpenCV's own threads are off where several threads of ours are at work."""

import threading
from contextlib import contextmanager

import cv2

lock, users, before = threading.Lock(), 0, 0


@contextmanager
def one_thread_each():
    """Within this context OpenCV computes in the thread that calls it.

    Otherwise each of n threads would start n more on a machine of n cores. The setting is one for
    the whole process: the first that comes in changes it, the last one out sets it back, so a
    program that uses OpenCV itself finds it as it was.
    """
    global users, before
    with lock:
        users += 1
        if users == 1:
            before = cv2.getNumThreads()
            cv2.setNumThreads(0)
    try:
        yield
    finally:
        with lock:
            users -= 1
            if not users:
                cv2.setNumThreads(before)
