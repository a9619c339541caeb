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
    "rebuild TensorFlow",
    "port.cc",
    "cudart_stub",
    "single_machine",
    "XNNPACK",
    "tf_tfl",
    "Tqdm",
    "autonotebook",
)
FOLDER = Path(__file__).parent


def execute(path):
    """The notebook of a file, run from top to bottom in its folder."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=1800, resources=where, record_timing=False).execute()
    for cell in notebook.cells:
        if "outputs" in cell:
            leave_out_chatter(cell)
    return notebook


def leave_out_chatter(cell):
    """Drop the lines of stderr in which other packages tell of the machine at their start."""
    for output in cell.outputs:
        if output.get("name") == "stderr":
            lines = output.text.splitlines(keepends=True)
            output.text = "".join(x for x in lines if not any(word in x for word in CHATTER))
    cell.outputs = [x for x in cell.outputs if x.get("text") != ""]


if __name__ == "__main__":
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        nbformat.write(execute(path), path)
