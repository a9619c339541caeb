"""ImageNet weights from the Hugging Face hub."""

from pathlib import Path

from transfuse_keras.weights.published import PUBLISHED


def download(names):
    """Fetch published weights, or find them in the hub's cache on disk.

    The hub, its cache and a mirror are set as for every Hugging Face tool, by the environment
    variables HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE. Shows progress.

    Args:
        names: keys of PUBLISHED.

    Returns: list of Path, one for each name.

    Raises: ValueError if one cannot be had, saying what to download by hand and where to put it.
    """
    from huggingface_hub import constants, hf_hub_download

    paths = []
    for name in names:
        row, repository = PUBLISHED[name], f"timm/{name}"
        try:
            paths.append(Path(hf_hub_download(repository, row.file, revision=row.revision)))
        except Exception as error:
            reason = str(error).strip().partition("\n")[0].partition(". ")[0]
            files = " and ".join(
                f"{constants.ENDPOINT}/timm/{name}/resolve/{PUBLISHED[name].revision}/"
                f"{PUBLISHED[name].file} as {name}.safetensors"
                for name in names
            )
            raise ValueError(
                f"The weights {name} could not be downloaded ({reason}); save {files} in one "
                "folder and give that folder as weights (--weights DIR)."
            ) from error
    return paths
