"""Run the notebooks and keep their outputs: python notebooks/execute.py [own_data ...]"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

CHATTER = (
    "absl::",
    "cuda_platform",
    "cpu_feature_guard",
    "eligible GPUs",
    "XNNPACK",
    "tf_tfl",
    "Tqdm",
)
FOLDER = Path(__file__).parent


def execute(path):
    """The notebook of a file, run from top to bottom in its folder."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=1800, resources=where, record_timing=False).execute()
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [x for x in cell.outputs if not is_chatter(x)]
    return notebook


def is_chatter(output):
    """Whether an output is what other packages tell of the machine at their start."""
    text = output.get("text", "") if output.get("name") == "stderr" else ""
    return any(word in text for word in CHATTER)


if __name__ == "__main__":
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        nbformat.write(execute(path), path)
