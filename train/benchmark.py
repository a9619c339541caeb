"""Measure a model: `python train/benchmark.py --model RUN` is `transfuse benchmark --model RUN`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from transfuse_keras.cli import main

sys.exit(main(["benchmark", *sys.argv[1:]]))
