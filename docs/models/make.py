"""Make a model of this folder: train it, export it as int8, write its card.

python docs/models/make.py hip
python docs/models/make.py hippocampus --data Task04_Hippocampus
"""

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from transfuse_keras.cli import main
from transfuse_keras.files import read_json
from transfuse_keras.publishing.card import PHANTOM_LICENCE, write_card

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
FILE = "model-int8.tflite"
EPOCHS = {"hip": 15, "hippocampus": 2}
DECATHLON = """\
{count} of the 260 training volumes of \
[Task04_Hippocampus of the Medical Segmentation Decathlon](http://medicaldecathlon.com) \
(Antonelli and others, Nature Communications 2022), T1-weighted MRI of Vanderbilt University \
Medical Center, CC-BY-SA 4.0. Neither images nor masks are in this folder. The data does not \
tell which volumes are of one person, so training and test \
may share people\
"""


def make(name, data=None):
    """Write the folder of a model here; its run goes to savedmodels/NAME-mini."""
    run = ROOT / "savedmodels" / f"{name}-mini"
    task = str(ROOT / "examples" / "hippocampus.py") if data else name
    options = ["--variant", "Mini", "--recipe", "scratch-v1", "--epochs", str(EPOCHS[name])]
    options += ["--no-export", "--resume", "--out", str(run)] + ["--data", data] * bool(data)
    command(["train", "--task", task, *options])
    command(["export", "--model", str(run), "--format", "litert", "--quantize", "int8"])
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in (FILE, f"{FILE}.json"):  # the script for devices reads the latter
        shutil.copy(run / file, folder)
    exports = {FILE: read_json(run / f"{FILE}.json")["verified"]}
    licence = "cc-by-sa-4.0" if data else PHANTOM_LICENCE
    again = f"python docs/models/make.py {name}" + " --data Task04_Hippocampus" * bool(data)
    described = DECATHLON.format(count=count_volumes(data)) if data else None
    write_card(run, folder, licence=licence, exports=exports, data=described, command=again)


def count_volumes(data):
    """How many volumes have labels; the published archive holds a hidden file beside each."""
    return len([*Path(data, "labelsTr").glob("[!.]*.nii.gz")])


def command(words):
    if code := main(words):
        sys.exit(code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("name", choices=list(EPOCHS))
    parser.add_argument("--data", help="folder of the hippocampus images")
    given = parser.parse_args()
    if (given.name == "hippocampus") != (given.data is not None):
        parser.error("hippocampus needs --data, hip is trained on phantoms")
    make(given.name, given.data)
