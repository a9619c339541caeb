"""Predict a folder with Ray: a run maps over it, on all machines of a Ray cluster.

    pip install 'ray[data]'
    python examples/ray_predict.py --model RUN --input DIR --out masks --workers 2

The masks are those of `transfuse predict`. Each worker loads the model once. The folder is cut into
shards, see `transfuse predict --shard`; Ray gives the next one to the worker that is free, and
repeats those of a worker that was lost. Without a cluster Ray starts the workers on this machine.
In a cluster all machines must see the three folders and have transfuse-keras installed.
"""

import argparse
import sys
from pathlib import Path

import ray


class Predict:
    """A worker: a model that predicts shards of a folder."""

    def __init__(self, model, folder, out, shards):
        from transfuse_keras.inference.choose import choose_file
        from transfuse_keras.inference.predictor import load_predictor

        self.file = choose_file(Path(model))
        self.loaded = [load_predictor(self.file)]
        self.folder, self.out, self.shards = folder, out, shards

    def __call__(self, row):
        from transfuse_keras.inference.predict_files import predict_files
        from transfuse_keras.inference.shard import Shard

        shard = Shard(int(row["id"]), self.shards)
        failed = predict_files(
            self.file, [self.folder], self.out, predictors=self.loaded, shard=shard
        )
        return {"shard": str(shard), "failed": failed}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", required=True, help="run folder, or an exported file")
    parser.add_argument("--input", required=True, help="folder of images or volumes")
    parser.add_argument("--out", required=True, help="folder for the masks")
    parser.add_argument("--workers", type=int, default=2, help="models that predict together")
    parser.add_argument("--shards", type=int, help="(default: 4 for each worker)")
    given = parser.parse_args()
    shards = given.shards or 4 * given.workers
    places = [str(Path(path).resolve()) for path in (given.model, given.input, given.out)]
    done = (
        ray.data.range(shards, override_num_blocks=shards)
        .map(Predict, fn_constructor_args=[*places, shards], concurrency=given.workers)
        .take_all()
    )
    failed = sum(row["failed"] for row in done)
    print(f"Done: {given.out}, {shards} shards by {given.workers} workers, {failed} failures.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
