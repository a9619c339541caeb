import logging
from dataclasses import replace

import cv2
import numpy as np

from transfuse_keras.data.pictures import PREDICTION, TRUTH
from transfuse_keras.data.samples import Sample
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.tasks import skin
from transfuse_keras.training import live


def test_the_line_tells_the_time_left(monkeypatch, caplog):
    """Epochs of 30 seconds, from the 4th of 10 on."""
    clock = iter([0.0, 30.0, 60.0])
    monkeypatch.setattr(live.time, "perf_counter", lambda: next(clock))
    caplog.set_level(logging.INFO)
    told = live.TellEpoch(10, "val_mask_dice")
    told.on_train_begin()
    for epoch in (3, 4):
        told.on_epoch_end(epoch, {"loss": 0.51234, "val_mask_dice": 0.81})
    first, second = caplog.messages
    assert first == "Epoch 4 of 10: loss 0.512, validation Dice 0.810, 3 min 0 s left"
    assert second.endswith("2 min 30 s left")


def test_four_cases_are_drawn_with_truth_and_prediction(tmp_path):
    """A model whose map is the brightness: it finds the bright square, the truth is beside it."""
    image, truth = np.zeros((100, 200, 3), "uint8"), np.zeros((100, 200, 1), "uint8")
    image[20:60, 20:60] = 255
    truth[20:60, 120:160] = 1
    samples = [
        Sample(f"{i}", f"{i}", None, lambda i=i: (image, truth if i != 7 else 0 * truth))
        for i in range(8)
    ]
    model = Predictor((100, 200), 3, 1, lambda images: np.float32(images[..., :1] / 255))
    drawn = live.DrawCases(tmp_path / live.LIVE, samples, replace(skin, exclusive=False))
    drawn.set_model(model)
    drawn.on_train_begin()
    drawn.on_epoch_end(0)
    picture = cv2.imread(str(tmp_path / live.LIVE))[..., ::-1]
    assert picture.shape == (384, 4 * 768, 3)
    parts = np.split(picture, 4, axis=1)
    counts = [
        [(part == color).all(axis=-1).sum() for color in (TRUTH, PREDICTION)] for part in parts
    ]
    assert min(x for _, x in counts) > 500 and min(x for x, _ in counts[:3]) > 500
    assert counts[3][0] == 0  # the last sample, number 7, has no truth
