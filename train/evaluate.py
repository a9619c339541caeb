"""Score a model: `python train/evaluate.py --model RUN` is `transfuse evaluate --model RUN`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from transfuse_keras.cli import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
