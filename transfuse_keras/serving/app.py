"""The HTTP service of a model, on FastAPI."""

from enum import StrEnum
from typing import Annotated

from fastapi import FastAPI, File, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from transfuse_keras import __version__
from transfuse_keras.errors import Failure, InputError
from transfuse_keras.serving.limits import Limits
from transfuse_keras.serving.monai_label import add_monai_label
from transfuse_keras.serving.uploads import predict_uploads, zipped
from transfuse_keras.serving.worker import Busy, TooLong

STATUS_CODES = {InputError: 422, Failure: 500, Busy: 503, TooLong: 504}
TYPES = {".png": "image/png", ".gz": "application/gzip"}
SENTENCE = {"description": "One sentence says what is wrong and what to do."}


class Output(StrEnum):
    JSON = "json"
    MASK = "mask"
    SEG = "seg"


def create_app(ask, task, thresholds, largest, seconds, page=None):
    """The application.

    Args:
        ask: function of a folder, a kind of SEG and whether to measure, see `predict_uploads`.
        task: Task.
        thresholds: one for each class.
        largest: bytes of a request.
        seconds: in which a request must arrive.
        page: folder of the page that predicts in the browser, None without one.
    """
    kind = "an image" if task.field is None else "a volume"
    app = FastAPI(
        title=f"TransFuse: {task.name}",
        version=__version__,
        description=f"Segments {kind}: {', '.join(task.classes)}. Not a medical device.",
    )
    app.add_middleware(Limits, largest=largest, seconds=seconds)
    for error in STATUS_CODES:
        app.add_exception_handler(error, answer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)

    @app.get("/health")
    def health():
        """Whether the service runs, and what it predicts."""
        classes = dict(zip(task.classes, map(float, thresholds), strict=True))
        return {"status": "ok", "task": task.name, "thresholds": classes, "version": __version__}

    @app.post(
        "/predict",
        responses={code: SENTENCE for code in (408, 413, 422, 503, 504)},
    )
    def predict(
        file: Annotated[list[UploadFile], File(description="PNG, JPEG, DICOM or NIfTI")],
        output: Output = Output.JSON,
    ):
        """Predict one file, or the DICOM slices of one series.

        `json`: areas and diameters of each class. `mask`: the files of `transfuse predict`, in a
        ZIP archive if there are several. `seg`: a DICOM SEG of DICOM images.
        """
        seg = "binary" if output is Output.SEG else "none"
        found = predict_uploads(ask, file, seg, measure=output is Output.JSON)
        if output is Output.JSON:
            return {"task": task.name, "classes": task.classes, "measurements": found.rows}
        if output is Output.SEG:
            return Response(found.seg, media_type="application/dicom")
        if len(found.masks) > 1:
            return Response(zipped(found.masks), media_type="application/zip")
        ((name, content),) = found.masks.items()
        return Response(content, media_type=TYPES[name[name.rindex(".") :]])

    add_monai_label(app, ask, task)

    @app.get("/", include_in_schema=False)
    def root():
        return RedirectResponse("page/" if page else "docs")

    if page is not None:
        app.mount("/page", StaticFiles(directory=page, html=True))
    return app


def answer_error(request, error):
    code = STATUS_CODES[type(error)]
    return JSONResponse({"detail": str(error)}, code, {"Retry-After": "10"} if code == 503 else {})


def answer_invalid(request, error):
    """A sentence in place of FastAPI's list."""
    first = error.errors()[0]
    name = next(x for x in first["loc"][1:] if isinstance(x, str))  # a file of several has a number
    said = (
        "send a form with it, as curl -F file=@image.png does" if name == "file" else first["msg"]
    )
    return JSONResponse({"detail": f"{name}: {said}."}, 422)
