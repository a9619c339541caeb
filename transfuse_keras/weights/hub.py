"""ImageNet weights from the Hugging Face hub: downloaded, recorded, checked.

A revision "main" is whatever a repository holds on the day of the download. So what was loaded
first is recorded, commit and digest, and whoever repeats that gets the same bytes or an error.
"""

import logging
import re
from pathlib import Path

from transfuse_keras.errors import first_line
from transfuse_keras.files import compute_digest
from transfuse_keras.weights.published import PUBLISHED

log = logging.getLogger(__name__)

HUB_PATIENCE = 5  # seconds that the hub has to answer


def download(names, pins=None):
    """Fetch published weights, or find them in the hub's cache on disk.

    The hub, its cache and a mirror are set as for every Hugging Face tool, by the environment
    variables HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE. Shows progress.

    Args:
        names: keys of PUBLISHED.
        pins: name -> {"revision", "sha256"} as `pin` gave it; these are fetched and no others.

    Returns: list of Path, one for each name.

    Raises: ValueError if one cannot be had, saying what to download by hand and where to put it,
    or if a file is another one than was recorded.
    """
    from huggingface_hub import constants, hf_hub_download

    paths, revisions = [], {name: PUBLISHED[name].revision for name in names}
    revisions |= {name: pin["revision"] for name, pin in (pins or {}).items() if name in revisions}
    for name in names:
        row, repository = PUBLISHED[name], f"timm/{name}"
        try:
            path = Path(hf_hub_download(repository, row.file, revision=revisions[name]))
        except Exception as error:
            reason = first_line(error).partition(". ")[0]
            files = " and ".join(
                f"{constants.ENDPOINT}/timm/{name}/resolve/{revisions[name]}/"
                f"{PUBLISHED[name].file} as {name}.safetensors"
                for name in names
            )
            raise ValueError(
                f"The weights {name} could not be downloaded ({reason}); save {files} in one "
                "folder and give that folder as weights (--weights DIR)."
            ) from error
        check_digest(path.resolve(), read_etag(path))
        check_digest(path, row.sha256)
        check_digest(path, (pins or {}).get(name, {}).get("sha256"))
        paths.append(path)
    return paths


def read_etag(path):
    """The SHA-256 that the hub told of a file, by which its cache names large files; None where it
    does not, as on a system without links."""
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else None


def can_fetch(names):
    """Whether `download` would find published weights: in the hub's cache, or by asking the hub.

    Args:
        names: keys of PUBLISHED.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    for name in names:
        row, repository = PUBLISHED[name], f"timm/{name}"
        cached = try_to_load_from_cache(repository, row.file, revision=row.revision)
        if isinstance(cached, str):
            continue
        try:
            get_hf_file_metadata(
                hf_hub_url(repository, row.file, revision=row.revision), timeout=HUB_PATIENCE
            )
        except Exception:  # offline, unknown host, refused, too slow: what a download would say
            return False
    return True


def pin(names):
    """Fetch published weights and record what they are.

    Args:
        names: keys of PUBLISHED.

    Returns: name -> {"revision": commit of its repository, "sha256": of the file}, plain data.

    Raises: ValueError as `download`.
    """
    pins = {}
    for name, path in zip(names, download(names), strict=True):
        commit = path.parent.name  # the cache keeps a file under snapshots/<commit>/
        revision = commit if re.fullmatch("[0-9a-f]{40}", commit) else PUBLISHED[name].revision
        pins[name] = {"revision": revision, "sha256": compute_digest(path)}
        if PUBLISHED[name].sha256 is None:
            log.info(
                f"{name}: revision {revision}, SHA-256 {pins[name]['sha256']}; this package knows "
                "no digest of it, so the hub is trusted, and this is recorded in config.json."
            )
    return pins


def check_digest(path, wanted):
    """Raise ValueError if a file has another SHA-256 than `wanted`; None is not checked."""
    if wanted is not None and (found := compute_digest(path)) != wanted:
        raise ValueError(
            f"{path}: is not the file that it should be: its SHA-256 is {found}, not {wanted}. "
            "Remove it and try again, or load another file by its path."
        )
