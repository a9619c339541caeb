"""Files that came with a request, in a folder that is gone when it is answered."""

import io
import shutil
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transfuse_keras.data.kinds import IMAGES, VOLUMES
from transfuse_keras.errors import InputError
from transfuse_keras.serving.job import GIVEN, MADE

# .hdr, .mhd and .nhdr name further files, and .mha and .nrrd may: these would be the server's
ACCEPTED_VOLUMES = (".nii.gz", ".nii")
REFUSED = tuple(set(VOLUMES) - set(ACCEPTED_VOLUMES))
OF_REQUESTS = "give --seg none", "ask for the masks alone"  # the remedy of `predict`, and ours


@dataclass(frozen=True)
class Prediction:
    """What was made of a request.

    Attributes:
        rows: of `measure_masks`, if they were wanted; "name" is that of the file as it was sent,
            without its ending, or GIVEN of a series.
        files: name -> content, of masks and of DICOM SEG, sorted by name.
    """

    rows: list
    files: dict

    @property
    def masks(self):
        return {name: x for name, x in self.files.items() if not name.endswith(".dcm")}

    @property
    def seg(self):
        """The DICOM SEG; InputError if there is none."""
        for name, content in self.files.items():
            if name.endswith("_seg.dcm"):
                return content
        raise InputError("A DICOM SEG is made of DICOM images only.")


def predict_uploads(ask, uploads, seg="none", measure=False):
    """A Prediction of uploaded files.

    Args:
        ask: function of a folder, `seg` and `measure`, such as `Worker.ask`.
        uploads: list of UploadFile: one file, or the DICOM slices of a series.
        seg: "binary", or "none" for no DICOM SEG.
        measure: whether sizes are wanted: a file that tells damaged ones is refused then.

    Raises: InputError if a file cannot be used; the sentence has the name that its sender gave it.
    """
    with tempfile.TemporaryDirectory(prefix="transfuse-") as folder:
        folder = Path(folder)
        names = save_uploads(uploads, folder / GIVEN)
        with named_as_sent(names):
            rows = ask(folder, seg, measure)
        if len(names) == 1:  # the slices of a series have no name in common
            ((path, sent),) = names.items()
            rows = [{**row, "name": rename(row["name"], path, sent)} for row in rows]
        made = sorted((folder / MADE).iterdir())
        return Prediction(rows, {path.name: path.read_bytes() for path in made})


def save_uploads(uploads, folder):
    """Write uploaded files under names of our own. Returns: {Path: the name it was sent by}."""
    folder.mkdir()
    names = {}
    for number, upload in enumerate(uploads, 1):
        name = upload.filename or "file"
        if name.lower().endswith(REFUSED):
            raise InputError(f"{name}: send a volume as .nii or .nii.gz, or as DICOM.")
        ending = next((x for x in (*ACCEPTED_VOLUMES, *IMAGES) if name.lower().endswith(x)), "")
        path = folder / (f"{GIVEN}{ending}" if len(uploads) == 1 else f"{number:05}{ending}")
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        names[path] = name
    return names


def rename(name, path, sent):
    """The name of an Input that was read from `path`, as if from a file of the name `sent`."""
    ending = path.name.removeprefix(GIVEN)
    return sent[: len(sent) - len(ending)] + name.removeprefix(GIVEN)


@contextmanager
def named_as_sent(names):
    """Within this context an InputError names files as their sender did, and no option of the
    command line."""
    try:
        yield
    except InputError as error:
        sentence = str(error)
        for path, name in names.items():
            sentence = sentence.replace(str(path), name)
        for folder in {path.parent for path in names}:
            sentence = sentence.replace(str(folder), "The files")
        sentence = sentence.replace(*OF_REQUESTS)
        raise InputError(sentence) from error


def zipped(files):
    """Files, name -> content, as a ZIP archive; they are compressed already."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for name, content in files.items():
            writer.writestr(name, content)
    return archive.getvalue()
