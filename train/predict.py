"""Predict files: `python train/predict.py ...` is `transfuse predict ...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from transfuse_keras.cli import main

sys.exit(main(["predict", *sys.argv[1:]]))
