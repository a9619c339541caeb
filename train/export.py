"""Export a trained model: `python train/export.py ...` is `transfuse export ...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from transfuse_keras.cli import main

sys.exit(main(["export", *sys.argv[1:]]))
