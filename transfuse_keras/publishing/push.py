"""A run for others: as a folder, and from there to the Hugging Face hub."""

import logging
import re
import shutil
import tempfile
from pathlib import Path

from transfuse_keras.errors import EXPORT_AGAIN, Failure, InputError, first_line
from transfuse_keras.files import read_json, replacing
from transfuse_keras.inference.predictor import EXPORTED
from transfuse_keras.model.preset import unpack_preset
from transfuse_keras.publishing.card import write_card
from transfuse_keras.runs.folder import refuse_taken
from transfuse_keras.runs.members import is_cross_validation
from transfuse_keras.runs.metadata import is_verified, metadata_path, parts

log = logging.getLogger(__name__)

MODEL = "model.keras"
OURS = re.compile(r"model\b.*|pictures/.*")  # files on the hub that a new version replaces
NOT_ALLOWED = (401, 403)


def push(run, repo=None, out=None, licence=None, pictures=False):
    """Publish a run: preset, exported files, model card.

    Args:
        run: Path of the folder of a run that was scored.
        repo: "user/name" on the hub; None only writes the folder.
        out: new or empty folder to keep what is published in.
        licence, pictures: as of `write_card`.

    Raises: InputError if the run cannot be published, or the hub does not let this user write
    there; Failure if the upload does not succeed.
    """
    refuse_taken(out)
    if not (run / MODEL).is_file():
        which = f"{run / 'fold-0'}" if is_cross_validation(run) else "the folder of a run"
        raise InputError(f"{run / MODEL}: no such file; give {which}: one model is published.")
    with tempfile.TemporaryDirectory() as beside:
        folder = Path(out or Path(beside, "published"))
        with replacing(folder) as temporary:
            temporary.mkdir(parents=True)  # in --out, which need not be there
            write_folder(run, temporary, repo or f"USER/{run.resolve().name}", licence, pictures)
        if repo is not None:
            upload(folder, repo)


def write_folder(run, folder, repo, licence, pictures):
    """Write what is published of a run."""
    unpack_preset(run / MODEL, folder)
    exports = {}
    for path in sorted(x for x in run.iterdir() if x.suffix in EXPORTED):
        if not is_verified(path):
            log.warning(f"{path}: was not verified against model.keras, so it is left out.")
            continue
        for file in (*parts(path), metadata_path(path)):
            shutil.copyfile(file, folder / file.name)
        about = read_json(metadata_path(path), EXPORT_AGAIN)
        exports[path.name] = about["verified"]
    write_card(run, folder, repo, licence, pictures, exports)


def upload(folder, repo):
    """Upload a folder to the hub in one commit: nobody ever finds a part of it.

    huggingface_hub repeats what is cut off, and sends no file again that has arrived. Files of an
    earlier version that are not in this one are removed; others there stay.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    files = {x.relative_to(folder).as_posix(): x for x in folder.rglob("*") if x.is_file()}
    api = HfApi(library_name="transfuse-keras")
    try:
        place = api.create_repo(repo, private=True, exist_ok=True)
        there = api.list_repo_files(place.repo_id)
        stale = [name for name in there if OURS.fullmatch(name) and name not in files]
        commit = api.create_commit(
            place.repo_id,
            [
                *(CommitOperationAdd(name, str(path)) for name, path in sorted(files.items())),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message="Publish a run of transfuse-keras",
        )
    except Exception as error:  # of the network, of HTTP, of the name: each has a class
        reason = first_line(error)
        answer = getattr(error, "response", None)
        if isinstance(error, ValueError) or getattr(answer, "status_code", None) in NOT_ALLOWED:
            raise InputError(
                f"{repo}: cannot be written ({reason}); give --repo USER/NAME of your own, and log "
                "in by `hf auth login` or HF_TOKEN."
            ) from error
        raise Failure(
            f"{repo}: the upload failed ({reason}); repeat the command: what has arrived is not "
            "sent again."
        ) from error
    log.info(f"{len(files)} files at {place}, commit {commit.oid}. A new repository is private.")
