"""A made-up run that was scored, with every file that a report reads."""

import json
import math

import cv2
import numpy as np

from transfuse_keras.files import write_table

CLASSES, METRICS, CASES = ("organ", "left_lesion"), ("dice", "iou", "hd95_mm", "assd_mm"), 60
PICTURED = 12  # of the cases


def case_rows():
    random = np.random.default_rng(0)
    rows = []
    for case in range(CASES):
        for name in CLASSES:
            dice = random.beta(8, 2)
            scores = [dice, dice / (2 - dice), *random.gamma(2, (3, 1))]
            empty = name == "left_lesion" and case < 50, name == "left_lesion" and case % 2 == 0
            if any(empty):
                scores = [0.0, 0.0, math.nan, math.nan]
            flags = dict(zip(("truth_empty", "prediction_empty"), empty, strict=True))
            scores = dict(zip(METRICS, scores, strict=True))
            sizes = [0.0 if x else 100.0 + case + i for i, x in enumerate(empty)]
            sizes = dict(zip(("truth_size", "prediction_size"), sizes, strict=True))
            rows.append({"case": f"case_{case:03}", "class": name, **flags, **sizes, **scores})
    return rows


def summary(rows):
    metrics = {
        **{"task": "organs", "data": "/data/organs", "protocol": "per image & class"},
        **{"variant": "S", "n": CASES, "unit": "mm", "classes": {}, "statistics": {}},
        "thresholds": {"organ": 0.5, "left_lesion": 0.35},
        "calibration": {},
        "sets": {"clinic A": {"n": 40, "mean": {"dice": 0.8123}}},
        "folds": [{"fold": 1, "n": 20, "mean": {"dice": 0.7654}}],
        "seconds_per_case": 0.25,
        "paper": {"S": {"organ": {"dice": 0.91}, "clinic A": {"iou": 0.7}}},
        "confusion": [[900, 50, 50], [25, 75, 0], [0, 10, 30]],
        "true_pixels": [1000, 100, 40],
        **{"size_unit": "mm²", "scored": "2026-11-28"},
    }
    for i, name in enumerate(CLASSES):
        found = [row for row in rows if row["class"] == name and not row["truth_empty"]]
        values = {metric: np.array([row[metric] for row in found]) for metric in METRICS}
        metrics["classes"][name] = {
            **{metric: float(np.nanmean(values[metric])) for metric in METRICS},
            **{"n": len(found), "empty_kept_empty": 0.5 if i else None},
        }
        metrics["statistics"][name] = {
            metric: {
                **{"mean": float(np.nanmean(of)), "std": float(np.nanstd(of))},
                **{"median": float(np.nanmedian(of)), "low": 0.1234 + i, "high": 0.4321 + i},
                "n": int(np.isfinite(of).sum()),
            }
            for metric, of in values.items()
        }
        centres = (np.arange(14) + 0.5) / 15
        bins = [{"confidence": p, "frequency": p**1.5, "count": 1000} for p in centres]
        bins.append({"confidence": None, "frequency": None, "count": 0})
        metrics["calibration"][name] = {"ece": 0.01234 + i / 100, "bins": bins}
    metrics["mean"] = {
        metric: float(np.mean([of[metric] for of in metrics["classes"].values()]))
        for metric in METRICS
    }
    return metrics


def verified(difference):
    """What `verify` gives of a model that differs by so much."""
    return {
        **{"images": "32 test images", "largest_difference": difference},
        **{"mask_dice": 1 - difference, "keras_dice": 0.9, "dice": 0.9 - difference},
        "dice_lost": difference,
    }


SQUARE = "M10 10l100 0 0 100 -100 0z"


def session(begun, seconds):
    return {
        **{"begun": begun, "command": "transfuse train --data organs", "devices": ["Card X"]},
        **{"versions": {"transfuse-keras": "0.1.0", "keras": "3.15.1"}, "seconds": seconds},
    }


def make_run(folder):
    """Write the run into a folder. Returns: the folder."""
    rows = case_rows()
    write_table(folder / "cases.csv", rows)
    entries = []
    (folder / "pictures").mkdir()
    for i in range(PICTURED):
        cv2.imwrite(str(folder / f"pictures/{i}.webp"), np.full((24, 32, 3), 20 * i, "uint8"))
        outlines = {"truth": {"organ": SQUARE}, "prediction": {"left_lesion": SQUARE}}
        entry = {"file": f"{i}.webp", "case": f"case_{i:03}", "size": [512, 384]}
        entries.append(entry | outlines)
    split = [("train", 3), ("train", 4), ("train", 4), ("val", 5), ("test", 6)]
    samples = [{"split": x, "group": y, "sample": f"s{i}"} for i, (x, y) in enumerate(split)]
    write_table(folder / "split.csv", samples)
    contents = {
        "metrics.json": summary(rows),
        "pictures/index.json": entries,
        "export.json": {"model.tflite": verified(2e-6), "model-int8.tflite": verified(0.0312)},
        "config.json": {
            "recipe": {"variant": "S", "image_size": [192, 256], "epochs": 3},
            "task": {"augmentation": {"rotation": 10.0, "scale": 0.1, "flip_vertical": False}},
            **{"weights": "imagenet", "seed": 7, "versions": {"keras": "3.15.1"}},
            "split": ["40 images: taken as kinds, not as patients.", "Scores are then optimistic."],
            "schema": 1,
        },
        "sessions.json": [
            session(begun="2026-11-27T23:10:00+01:00", seconds=3600.4),
            session(begun="2026-11-28T08:00:00+01:00", seconds=125.0),
        ],
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    history = "epoch,loss,val_loss,val_mask_dice\n1,1.5,1.4,0.5\n2,1.0,1.1,0.8\n3,0.8,1.2,0.7\n"
    (folder / "history.csv").write_text(history)
    return folder
