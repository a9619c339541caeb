"""nnU-Net's 2d configuration on the images of a run: its own plan, network, loss, optimiser,
augmentation and prediction with mirror images; of the run are images, split, size, batch and steps.

    pip install nnunetv2==2.8.1   # Apache-2.0
"""

import itertools
import os

import numpy as np
import torch
from peer_training import clock

from transfuse_keras.data.cache import read_part
from transfuse_keras.data.pictures import save_png
from transfuse_keras.errors import InputError
from transfuse_keras.files import read_json, write_json

NAME, CONFIGURATION, PLANS = "Dataset001_run", "2d", "nnUNetPlans.json"


def create_trainer(settings, splits, folder):
    """nnU-Net's own trainer of the run's images, planned and initialised; files lie in `folder`."""
    if settings.task.field is not None or not splits["val"]:
        raise InputError("nnU-Net is trained on images here, with a validation split.")
    for part in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{part}"] = str(folder / part)
    os.environ.update(nnUNet_n_proc_DA="1")  # with 0 it cannot plan
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    planned, done = folder / "preprocessed" / NAME, folder / "planned.json"
    if not done.is_file():
        splits_of_names = write_raw(settings, splits, folder / "raw" / NAME)
        api.extract_fingerprints([1], num_processes=1, clean=True, verbose=False)
        api.plan_experiments([1])
        plans = read_json(planned / PLANS)
        plans["configurations"][CONFIGURATION]["batch_size"] = settings.recipe.batch_size
        write_json(planned / PLANS, plans)
        api.preprocess([1], configurations=[CONFIGURATION], num_processes=[1])
        write_json(planned / "splits_final.json", [splits_of_names])
        write_json(done, True)
    os.environ.update(nnUNet_n_proc_DA="0")  # augments in this process: the seed decides
    torch.manual_seed(settings.seed)
    np.random.seed(settings.seed)
    plans = {**read_json(planned / PLANS), "continue_training": False}
    about, device = read_json(planned / "dataset.json"), torch.device("cpu")
    trainer = nnUNetTrainer(plans, CONFIGURATION, 0, about, device)
    trainer.initialize()
    return trainer


def write_raw(settings, splits, folder):
    """Write nnU-Net's raw data set. Returns: {"train", "val"} -> names of its cases."""
    task, size = settings.task, settings.recipe.image_size
    arrays = {part: read_part(splits[part], size, None, (0, 1)) for part in ("train", "val")}
    label, labels = choose_labels(task.classes, [masks for _, masks in arrays.values()])
    names = {}
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for part, (images, masks) in arrays.items():
        names[part] = [f"{part}_{i:05}" for i in range(len(images))]
        for name, image, mask in zip(names[part], images, masks, strict=True):
            save_png(folder / "imagesTr" / f"{name}_0000.png", image.squeeze())
            save_png(folder / "labelsTr" / f"{name}.png", label[combine(mask)])
    channels = ["R", "G", "B"] if task.channels == 3 else ["grey"]
    description = {
        "channel_names": {str(i): name for i, name in enumerate(channels)},
        **labels,
        "numTraining": sum(map(len, names.values())),
        "file_ending": ".png",
    }
    write_json(folder / "dataset.json", description)
    return names


def combine(masks):
    """Masks 0/1 (..., M) as one number a pixel, a bit for each class."""
    return (masks * (1 << np.arange(masks.shape[-1]))).sum(axis=-1)


def choose_labels(classes, masks):
    """The label of each number of `combine`, and what dataset.json says of them.

    Classes that overlap are nnU-Net's regions: every combination that occurs has a label, and a
    class is the region of all labels with it.
    """
    codes = np.unique(np.concatenate([[0], *(np.unique(combine(x)) for x in masks)]))
    label = np.zeros(1 << len(classes), "uint8")
    if all(code & (code - 1) == 0 for code in codes):
        label[1 << np.arange(len(classes))] = np.arange(1, len(classes) + 1)
        named = {name: i for i, name in enumerate(classes, 1)}
        return label, {"labels": {"background": 0, **named}}
    label[codes] = np.arange(len(codes))
    regions = {
        name: [int(label[code]) for code in codes if code >> k & 1]
        for k, name in enumerate(classes)
    }
    order = list(range(1, len(classes) + 1))
    return label, {"labels": {"background": 0, **regions}, "regions_class_order": order}


def fit(trainer, per_epoch, epochs, seconds=None, tell=print):
    """Train by nnU-Net's steps and its schedule of the learning rate; see `peer_training.fit`.

    Returns: rows of a history. The weights are those of the last step, as nnU-Net takes them.
    """
    trainer.on_train_start()
    rows, step, begun = [], 0, clock()

    def passed():
        return clock() - begun

    for epoch in itertools.count():
        trainer.network.train()
        losses = []
        for _ in range(per_epoch):
            share = step / (per_epoch * epochs) if seconds is None else passed() / seconds
            for group in trainer.optimizer.param_groups:
                group["lr"] = trainer.initial_lr * (1 - min(1.0, share)) ** 0.9
            losses.append(float(trainer.train_step(next(trainer.dataloader_train))["loss"]))
            step += 1
            if seconds is not None and passed() >= seconds:
                break
        row = {"epoch": epoch + 1, "steps": step, "loss": float(np.mean(losses))}
        rows.append({**row, "seconds": round(passed(), 1)})
        tell(", ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()))
        if passed() >= seconds if seconds is not None else epoch + 1 == epochs:
            return rows


def create_run(trainer):
    """The function from images (B, H, W, C), 0-255, to probabilities (B, H, W, M).

    Without regions nnU-Net takes the class with the largest of its probabilities p_k, background
    among them: this gives p_k / (p_k + the largest other), above one half for that class alone.
    """
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer.set_deep_supervision_enabled(False)
    *_, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    predictor = nnUNetPredictor(
        device=trainer.device, perform_everything_on_device=False, allow_tqdm=False
    )
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        axes,
    )

    def predict(image):
        slices = np.asarray(image, "float32").transpose(2, 0, 1)[:, None]
        _, p = predictor.predict_single_npy_array(
            slices, {"spacing": (999, 1, 1)}, None, None, True
        )
        p = np.moveaxis(np.asarray(p, "float32")[:, 0], 0, -1)
        if trainer.label_manager.has_regions:
            return p
        others = [np.delete(p, k, axis=-1).max(axis=-1) for k in range(1, p.shape[-1])]
        return p[..., 1:] / (p[..., 1:] + np.stack(others, axis=-1))

    return lambda images: np.stack([predict(image) for image in images])
