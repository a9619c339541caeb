"""All that a GPU can prove in ten minutes, on a machine with JAX and PyTorch and no TensorFlow.

    python benchmarks/gpu.py --minutes 8 --out gpu
    python benchmarks/gpu.py --small --out gpu-small      # the same on a CPU, in small: a rehearsal

It needs keras, jax and torch, and this repository: `pip install keras` brings no TensorFlow. The
parts run in order of worth, each in a process of its own. What a part found is written to
OUT/gpu.json at once; a part that fails is written as an error, and the next one begins. Parts
whose time is over are left out, and said to be. docs/gpu.md says what the figures mean.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]
FIXTURES = ROOT / "tests" / "fixtures"
HEADS = ("mask", "transformer", "fusion")


def golden_model(precision="float32", dropout=0.2):
    """S with the golden weights, and its names."""
    import keras
    from parity import state_from_names

    import transfuse_keras as tk

    keras.config.set_dtype_policy(precision)
    model = tk.TransFuse("S", (192, 256, 3), dropout=dropout)
    spec = json.loads((FIXTURES / "official_state_spec.json").read_text(encoding="utf-8"))[
        "TransFuse_S_classes1"
    ]
    tk.load_official(model, state_from_names(spec))
    return model


def golden_maps(small):
    """Largest difference from the golden maps, relative to their largest value."""
    import numpy as np
    from parity import input_image, relative_error

    from transfuse_keras.devices import exact_products

    golden = np.load(FIXTURES / "official_TransFuse_S_classes1_seed1.npz")
    image, found = input_image((1, 3, 192, 256)), {}
    for name in ("strict float32", "float32 as it comes", "mixed_bfloat16"):
        model = golden_model("mixed_bfloat16" if "bfloat16" in name else "float32")
        if name.startswith("strict"):
            with exact_products():
                maps = model.predict_on_batch(image)
        else:
            maps = model.predict_on_batch(image)
        errors = (relative_error(maps[x], golden[x].transpose(0, 2, 3, 1)) for x in HEADS)
        found[name] = dict(zip(HEADS, map(float, errors), strict=True))
    return found


def golden_step(small):
    """One training step against the authors': loss and statistics of normalisation."""
    import keras
    import numpy as np
    from parity import input_image, relative_error

    from transfuse_keras.devices import exact_products
    from transfuse_keras.weights.official import official_state

    golden = np.load(FIXTURES / "official_trainstep_S_seed1.npz")
    with exact_products():
        model = golden_model(dropout=0.0)
        model.compile(keras.optimizers.Adam(1e-4, beta_1=0.5, global_clipnorm=2.0))
        masks = golden["mask"].transpose(0, 2, 3, 1)
        images = input_image((2, 3, 192, 256), key=b"train")
        loss = model.train_on_batch(images, masks, return_dict=True)["loss"]
    after, found = official_state(model), {"loss": abs(float(loss) / float(golden["loss"]) - 1)}
    for key in ("running_mean", "running_var"):
        names = [x for x in golden.files if x.startswith("after/") and x.endswith(key)]
        errors = [relative_error(after[x.removeprefix("after/")], golden[x]) for x in names]
        found[key] = float(max(errors))
    return found


def keras_trainer(precision, variant, size, batch):
    """A function that trains a step of ours and waits for it."""
    import keras
    import numpy as np

    import transfuse_keras as tk

    keras.config.set_dtype_policy(precision)
    model = tk.TransFuse(variant, (*size, 3))
    model.compile(keras.optimizers.Adam(1e-4, beta_1=0.5, global_clipnorm=2.0))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, *size, 3)).astype("float32")
    masks = (rng.random((batch, *size, 1)) > 0.5).astype("float32")
    return lambda: float(model.train_on_batch(images, masks, return_dict=True)["loss"])


def plain_trainer(compiled, size, batch):
    """The same of the plain PyTorch form: channels last, autocast to bfloat16, torch.compile."""
    import torch
    from plain_transfuse import PlainTransFuse, training_loss

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = PlainTransFuse(size).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, betas=(0.5, 0.999))
    forward = torch.compile(model) if compiled else model
    images = torch.randn(batch, 3, *size, device=device).to(memory_format=torch.channels_last)
    masks = (torch.rand(batch, 1, *size, device=device) > 0.5).float()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            outputs = forward(images)
        loss = training_loss([x.float() for x in outputs], masks)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        return float(loss)

    return step


def peak_memory(backend):
    """MB that the card held at most; None on a CPU."""
    if backend == "jax":
        import jax

        used = jax.local_devices()[0].memory_stats()
        return used and used["peak_bytes_in_use"] / 1e6
    import torch

    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None


def time_steps(kind, size, batch, steps):
    """Seconds of the median step of one kind of training, and its peak memory."""
    if kind == "plain":
        step = plain_trainer(True, size, batch)
    else:
        step = keras_trainer("mixed_bfloat16", "S", size, batch)
    seconds = measure(step, steps)
    return {"seconds": seconds, "peak_mb": peak_memory("jax" if kind == "jax" else "torch")}


def measure(function, rounds, warm_up=3):
    """Seconds of the median call."""
    times = []
    for _ in range(warm_up + rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return sorted(times[warm_up:])[rounds // 2]


def inference(small):
    """Images a second of the mask graph of S in bfloat16, and seconds of a volume of 20 slices."""
    import keras
    import numpy as np

    import transfuse_keras as tk

    size, rounds = ((64, 64), 2) if small else ((352, 352), 30)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model, found = tk.TransFuse("S", (*size, 3)).mask_model, {}
    for batch in (1, 16, 20):
        images = np.zeros((batch, *size, 3), "float32")
        seconds = measure(lambda images=images: model.predict_on_batch(images), rounds)
        found[f"batch {batch}"] = {"seconds": seconds, "images_per_second": batch / seconds}
    return found


def pipeline(small):
    """Images a second of the input pipeline (skin, 192x256, augmented) by the number of threads."""
    from concurrent.futures import ThreadPoolExecutor

    import transfuse_keras as tk

    size = (64, 64) if small else (192, 256)
    batches = tk.dataset(tk.tasks.skin, None, "train", size, batch_size=16)
    count, found = (4 if small else 200), {}
    for threads in (1, 2, 4, 8, 16):
        if threads > (os.cpu_count() or 1):
            break
        with ThreadPoolExecutor(threads) as pool:
            begin = time.perf_counter()
            list(pool.map(lambda k: batches[k % len(batches)], range(count)))
        found[f"{threads} threads"] = 16 * count / (time.perf_counter() - begin)
    return found


def demo(small):
    """Seconds until Ti, trained on phantoms of the hip task, reaches a Dice of 0.9."""
    import keras

    from transfuse_keras.data.cache import read_resized
    from transfuse_keras.data.order import Order
    from transfuse_keras.data.pipeline import batches
    from transfuse_keras.data.splits import find_splits
    from transfuse_keras.metrics import DiceScore
    from transfuse_keras.model.transfuse import TransFuse
    from transfuse_keras.tasks import hip

    keras.utils.set_random_seed(0)
    size, epochs = ((32, 32), 1) if small else (hip.phantom_recipe.image_size, 12)
    model = TransFuse("Ti", (*size, 3), len(hip.classes))
    model.compile(
        keras.optimizers.Adam(1e-3, global_clipnorm=2.0),
        metrics={"mask": [DiceScore(len(hip.classes), name="dice")]},
    )
    splits = find_splits(hip, None, size)
    data = {}
    for part, seed in (("train", 0), ("val", None)):
        order = Order(len(splits[part]), 8, seed)
        arrays = read_resized(splits[part], size)
        data[part] = batches(*arrays, hip, model.normalization, order, augmented=seed is not None)
    begin, dice, seconds = time.perf_counter(), [], None
    for _ in range(epochs):
        model.fit(data["train"], verbose=0)
        scores = model.evaluate(data["val"], verbose=0, return_dict=True)
        dice.append(scores["mask_dice"])
        if seconds is None and dice[-1] >= 0.9:
            seconds = time.perf_counter() - begin
    return {"seconds_to_0.9": seconds, "dice": dice}


def parts(small):
    """(name, backend, function, arguments) of all parts, in order of worth."""
    yield "a: golden maps, JAX", "jax", golden_maps, (small,)
    yield "b: golden step, JAX", "jax", golden_step, (small,)
    size = (64, 64) if small else (192, 256)
    for batch in (2,) if small else (16, 32, 64):
        for kind in ("jax", "plain", "torch"):
            name = f"c: training step, batch {batch}, {kind}"
            backend = "jax" if kind == "jax" else "torch"
            yield name, backend, time_steps, (kind, size, batch, 2 if small else 20)
    yield "d: inference, JAX", "jax", inference, (small,)
    yield "f: phantoms, JAX", "jax", demo, (small,)
    yield "e: input pipeline", "jax", pipeline, (small,)
    yield "a: golden maps, PyTorch", "torch", golden_maps, (small,)
    yield "b: golden step, PyTorch", "torch", golden_step, (small,)


def describe_machine(_):
    """The card, the processor and the versions."""
    import platform

    import jax
    import keras
    import torch

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "card": card,
        "devices of JAX": [str(x) for x in jax.devices()],
        "cores": os.cpu_count(),
        "processor": platform.processor(),
        "versions": {x.__name__: x.__version__ for x in (keras, jax, torch)},
    }


def run(pipe, function, arguments):
    """In a process of its own: what a part found, or its error."""
    try:
        pipe.send(function(*arguments))
    except Exception as error:
        traceback.print_exc()
        pipe.send({"error": f"{type(error).__name__}: {str(error).strip()[:500]}"})


def run_part(backend, function, arguments, limit):
    """What a part found; an error if it takes longer than `limit` seconds."""
    os.environ["KERAS_BACKEND"] = backend
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=run, args=(theirs, function, arguments), daemon=True)
    child.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(limit) else {"error": f"took more than {limit:.0f} s"}
    except EOFError:
        found = {"error": "its process ended without an answer"}
    child.kill()
    child.join()
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--minutes", type=float, default=8, help="no part begins after this")
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a CPU")
    parser.add_argument("--only", metavar="LETTERS", default="abcdef", help="parts, such as ab")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # PyTorch needs room beside JAX
    # building S compiles for half a minute, in each process anew
    compiled = Path(tempfile.gettempdir()) / "transfuse_compiled_by_jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    end, found = time.monotonic() + 60 * arguments.minutes, {}
    jobs = [("machine", "jax", describe_machine, (None,)), *parts(arguments.small)]
    for name, backend, function, given in jobs:
        if name != "machine" and name[0] not in arguments.only:
            continue
        left = end - time.monotonic()
        begin = time.perf_counter()
        found[name] = run_part(backend, function, given, left) if left > 0 else "left out: no time"
        print(
            f"{name} ({time.perf_counter() - begin:.0f} s): {json.dumps(found[name])}", flush=True
        )
        (arguments.out / "gpu.json").write_text(
            json.dumps(found, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
