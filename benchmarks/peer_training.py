"""Training a PyTorch model as a run of ours was trained: its batches, recipe and best epoch."""

import itertools
import math
import time
from contextlib import contextmanager

import numpy as np
import torch
from peer_models import loss_of, mask_of
from peer_muon import TorchMuon, find_kernels
from torch.nn.functional import interpolate

from transfuse_keras.metrics.streaming import DiceScore
from transfuse_keras.model.multiscale import training_sizes
from transfuse_keras.training.fit import MONITOR
from transfuse_keras.training.optimizer import create_learning_rate

# on a CPU that of the processor, all cores together, which other programs do not take part of
clock = time.perf_counter if torch.cuda.is_available() else time.process_time


def fit(model, training, validation, recipe, seconds=None, tell=print):
    """Train a model to the last epoch of the recipe, or for so many seconds.

    Args:
        model: see `peer_models`.
        training, validation: Batches; the second may be None.
        recipe: Recipe.
        seconds: of `clock`, with validation, the last of which comes on top; the learning rate then
            follows the time that has passed as else the steps.
        tell: function of a line about each epoch.

    Returns: rows of a history, with "seconds" since the beginning. The model has the weights of the
    epoch with the best validation Dice; without validation those of the last.
    """
    own = tuple(training[0][0].shape[1:3])
    sizes = training_sizes(own, recipe.scales or (1,))
    total = len(training) * len(sizes) * recipe.epochs
    rate = create_learning_rate(recipe, len(training))
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizers = create_optimizers(model, recipe, training[0][1].shape[-1])
    means = [p.detach().clone() for p in weights] if recipe.ema else None
    best, kept, rows, step, begun = -math.inf, None, [], 0, clock()

    def passed():
        return clock() - begun

    for epoch in itertools.count():
        training.order.epoch = epoch
        model.train()
        losses = []
        for k in range(len(training)):
            images, masks = (channels_first(x) for x in training[k])
            for size in sizes:
                place = step if seconds is None else min(1.0, passed() / seconds) * total
                for group in (x for each in optimizers for x in each.param_groups):
                    group["lr"] = rate if isinstance(rate, float) else float(rate(place))
                images_masks = resized(images, masks, size)
                losses.append(take_step(model, optimizers, weights, *images_masks, recipe))
                step += 1
                if means is not None:
                    torch._foreach_lerp_(means, [p.detach() for p in weights], 1 - recipe.ema)
            if seconds is not None and passed() >= seconds:
                break
        ended = passed() >= seconds if seconds is not None else epoch + 1 == recipe.epochs
        row = {"epoch": epoch + 1, "steps": step, "loss": float(np.mean(losses))}
        with exchanged(weights, means):
            if validation is not None:
                row[MONITOR] = score_validation(model, validation)
            if validation is None or row[MONITOR] > best:
                best = row.get(MONITOR, best)
                kept = {name: x.detach().clone() for name, x in model.state_dict().items()}
        rows.append({**row, "seconds": round(passed(), 1)})
        tell(", ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()))
        if ended:
            model.load_state_dict(kept)
            return rows


def create_optimizers(model, recipe, classes):
    """As `training.optimizer.create_optimizer` makes one: weight decay is of kernels alone, and
    of a recipe with Muon that takes those that `find_kernels` finds."""
    by_muon = {} if recipe.muon is None else find_kernels(model, classes)
    kernels, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter not in by_muon:
            decayed = parameter.ndim > 1 and "pos_embed" not in name
            (kernels if decayed else others).append(parameter)
    groups = [
        {"params": kernels, "weight_decay": recipe.weight_decay or 0.0},
        {"params": others, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, recipe.learning_rate, recipe.betas, recipe.epsilon)
    muon = [TorchMuon(by_muon, recipe.learning_rate, recipe.muon)] if by_muon else []
    return [adam, *muon]


def take_step(model, optimizers, weights, images, masks, recipe):
    """One step of the optimisers. Returns: the loss."""
    loss = loss_of(model(images), masks)
    if not torch.isfinite(loss):
        raise ValueError("the loss is not finite")
    model.zero_grad()
    loss.backward()
    if recipe.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
    if recipe.clip_value is not None:
        torch.nn.utils.clip_grad_value_(weights, recipe.clip_value)
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach())


def channels_first(batch):
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()  # faster on a CPU


def resized(images, masks, size):
    """A batch at another size, as `model.multiscale.resize_batch` does it."""
    if images.shape[2:] == size:
        return images, masks
    how = {"size": size, "mode": "bilinear", "align_corners": True}
    return interpolate(images, **how), (interpolate(masks, **how) >= 0.5).float()


@contextmanager
def exchanged(weights, means):
    """Within this context the weights are their running means, if there are some."""
    if means is None:
        yield
        return
    own = [p.detach().clone() for p in weights]
    torch._foreach_copy_([p.data for p in weights], means)
    try:
        yield
    finally:
        torch._foreach_copy_([p.data for p in weights], own)


def score_validation(model, validation):
    """The validation Dice by which our runs choose their best epoch."""
    dice = None
    for k in range(len(validation)):
        images, masks = validation[k]
        dice = dice or DiceScore(masks.shape[-1])
        dice.update_state(masks, predict(model, images))
    return float(dice.result())


def predict(model, images):
    """Logits (B, H, W, M), float32, of normalised images (B, H, W, C)."""
    model.eval()
    with torch.no_grad():
        return mask_of(model(channels_first(images))).permute(0, 2, 3, 1).contiguous().numpy()
