"""Train the paper's ablations: `python train/ablate.py --list` is `transfuse ablate --list`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from transfuse_keras.cli import main

sys.exit(main(["ablate", *sys.argv[1:]]))
