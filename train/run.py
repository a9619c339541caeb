"""Train a task: `python train/run.py --task hip` is `transfuse train --task hip`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from transfuse_keras.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
