"""`transfuse serve`: models as an HTTP service, until it is stopped."""

import logging
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

from transfuse_keras.errors import InputError
from transfuse_keras.export.web import write_page
from transfuse_keras.inference.choose import MODEL
from transfuse_keras.inference.predict_files import settle
from transfuse_keras.runs.embedded import find_model_of_page
from transfuse_keras.serving.worker import Worker

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 256


def serve(models, host, port, megabytes, seconds):
    """Serve models, averaged if they are several, by HTTP until the process is told to stop.

    Args:
        models: list of Path, as of `load_predictor`.
        host: address to listen on.
        port: 0 is a free one.
        megabytes: MiB that a request may have.
        seconds: that a request may take to arrive, and again to be predicted.

    Raises: InputError if a model or the port cannot be used, or FastAPI is missing.
    """
    try:
        import uvicorn

        from transfuse_keras.serving.app import create_app
    except ImportError as error:
        raise InputError(
            f"{error.name} is missing: pip install 'transfuse-keras[serve]'."
        ) from error
    task, thresholds, _ = settle(models)
    sockets = [listen(host, port)]
    # so that SIGTERM, with which services are stopped, leaves nothing behind either
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    worker = Worker(models, seconds)
    try:
        with tempfile.TemporaryDirectory(prefix="transfuse-page-") as folder:
            # a page has one model
            page = find_page(models[0], task, Path(folder) / "page") if len(models) == 1 else None
            app = create_app(worker.ask, task, thresholds, megabytes * 2**20, seconds, page)
            config = uvicorn.Config(
                app,
                log_level="warning",
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=5,
            )
            where = describe_address(sockets[0])
            told = f"described at {where}/docs"
            told += f", with a page to try at {where}/page/" if page else ""
            log.info(f"Serving {task.name} at {where}, {told}; Ctrl-C stops it.")
            uvicorn.Server(config).run(sockets)
    finally:
        worker.stop()


def listen(host, port):
    """A socket that listens at an address; InputError if that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(f"--host {host} --port {port}: cannot listen there ({error}).") from error


def describe_address(listening):
    """The URL of a socket that listens."""
    host, port, *_ = listening.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def find_page(model, task, folder):
    """The folder of a page for the browser: that in the run, else one made of its model.tflite in
    `folder`; None if there is neither, or it cannot be made."""
    if find_model_of_page(model / "web") is not None:
        return model / "web"
    file = model / "model.tflite" if (model / MODEL).is_file() else model
    if file.suffix != ".tflite" or not file.is_file() or task.field is not None:
        return None
    try:
        write_page(folder)
    except InputError as error:
        log.warning(f"There is no page for the browser: {error}")
        return None
    shutil.copyfile(file, folder / "model.tflite")
    return folder
