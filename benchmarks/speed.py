"""TransFuse-S against what people run today, on one machine in one run.

    pip install -e '.[openvino]' torch torchvision timm segmentation-models-pytorch
    python benchmarks/speed.py --threads 2

Measures one image of 192x256 at a time, all in turns: a U-Net with ResNet-34 of
segmentation_models_pytorch and TransFuse-S as a PyTorch user has it (three heads, batch
normalisation, upsampling before every convolution), both under OpenVINO, and this package's
exports of S and Ti. Weights are random: they do not change the time.
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import openvino
import segmentation_models_pytorch
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

from transfuse_keras.benchmark.processes import process, take_turns

SIZE = 192, 256


def conv_bn(inputs, outputs, size, relu=False, bias=True):
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *[nn.ReLU()] * relu)


def enlarge(x, scale=2):
    return functional.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=True)


class DoubleConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.convs = nn.Sequential(conv_bn(inputs, outputs, 3, True), conv_bn(outputs, outputs, 3))
        self.identity = conv_bn(inputs, outputs, 1)

    def forward(self, x):
        return functional.relu(self.convs(x) + self.identity(x))


class GatedDecoder(nn.Module):
    def __init__(self, inputs, skip, outputs):
        super().__init__()
        self.gating, self.skip = conv_bn(inputs, outputs, 1), conv_bn(skip, outputs, 1)
        self.psi = conv_bn(outputs, 1, 1)
        self.conv = DoubleConv(inputs + skip, outputs)

    def forward(self, x, skip):
        x = enlarge(x)
        gate = torch.sigmoid(self.psi(functional.relu(self.gating(x) + self.skip(skip))))
        return self.conv(torch.cat([gate * skip, x], 1))


class BiFusion(nn.Module):
    def __init__(self, g, t, reduction, outputs):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(t, t // reduction, 1), nn.Conv2d(t // reduction, t, 1)
        self.spatial = conv_bn(2, 1, 7, bias=False)
        self.project_g, self.project_t = conv_bn(g, outputs, 1), conv_bn(t, outputs, 1)
        self.product = conv_bn(outputs, outputs, 3, True)
        inputs, half = g + t + outputs, outputs // 2
        steps = [(inputs, half, 1), (half, half, 3), (half, outputs, 1)]
        self.residual = nn.Sequential(
            *[
                nn.Sequential(nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, k, padding=k // 2))
                for a, b, k in steps
            ]
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, g, t):
        pooled = torch.cat([g.max(1, keepdim=True)[0], g.mean(1, keepdim=True)], 1)
        squeezed = functional.relu(self.squeeze(t.mean((2, 3), keepdim=True)))
        x = torch.cat(
            [
                torch.sigmoid(self.spatial(pooled)) * g,
                torch.sigmoid(self.excite(squeezed)) * t,
                self.product(self.project_g(g) * self.project_t(t)),
            ],
            1,
        )
        return self.residual(x) + self.shortcut(x)


class PlainTransFuse(nn.Module):
    """TransFuse-S of one class, layer by layer as Fig. 1 of the paper."""

    def __init__(self):
        super().__init__()
        self.cnn = torchvision.models.resnet34(weights=None)
        self.vit = timm.models.vision_transformer.VisionTransformer(
            img_size=SIZE,
            patch_size=16,
            embed_dim=384,
            depth=8,
            num_heads=6,
            class_token=False,
            global_pool="",
            num_classes=0,
        )
        self.up1, self.up2 = DoubleConv(384, 128), DoubleConv(128, 64)
        self.fuse0 = BiFusion(256, 384, 4, 256)
        self.fuse1, self.fuse2 = BiFusion(128, 128, 2, 128), BiFusion(64, 64, 1, 64)
        self.decode1, self.decode2 = GatedDecoder(256, 128, 128), GatedDecoder(128, 64, 64)
        last = [conv_bn(64, 64, 3, True), nn.Conv2d(64, 1, 3, padding=1)]
        self.mask, self.transformer = nn.Sequential(*last), nn.Sequential(*last)
        self.fusion = nn.Sequential(conv_bn(256, 64, 1, True), *last)

    def forward(self, x):
        t0 = self.vit.forward_features(x).transpose(1, 2)
        t0 = t0.reshape(-1, 384, SIZE[0] // 16, SIZE[1] // 16)
        t1 = self.up1(enlarge(t0))
        t2 = self.up2(enlarge(t1))
        g2 = self.cnn.layer1(self.cnn.maxpool(self.cnn.relu(self.cnn.bn1(self.cnn.conv1(x)))))
        g1 = self.cnn.layer2(g2)
        g0 = self.cnn.layer3(g1)
        f0 = self.fuse0(g0, t0)
        decoded = self.decode2(self.decode1(f0, self.fuse1(g1, t1)), self.fuse2(g2, t2))
        return (
            enlarge(self.mask(decoded), 4),
            enlarge(self.transformer(t2), 4),
            enlarge(self.fusion(f0), 16),
        )


def convert(model, path):
    """Write a PyTorch model as float32 OpenVINO IR for one image."""
    with torch.no_grad():
        image = torch.zeros(1, 3, *SIZE)
        graph = openvino.convert_model(model.eval(), example_input=image, input=list(image.shape))
    openvino.save_model(graph, path, compress_to_fp16=False)


def jobs_in(folder):
    """Write all models; list of (name, settings for runtimes.py)."""
    import keras  # after PyTorch: imported before it, the process crashes

    from transfuse_keras import TransFuse
    from transfuse_keras.export.litert import export_litert
    from transfuse_keras.export.saved_model import export_saved_model

    unet, plain = folder / "unet.xml", folder / "plain.xml"
    convert(segmentation_models_pytorch.Unet("resnet34", encoder_weights=None, classes=1), unet)
    convert(PlainTransFuse(), plain)
    jobs = [
        ("U-Net ResNet-34, OpenVINO, its own precision", openvino_job(unet, None)),
        ("U-Net ResNet-34, OpenVINO float32", openvino_job(unet, "f32")),
        ("PyTorch's TransFuse-S, OpenVINO float32", openvino_job(plain, "f32")),
        ("PyTorch's TransFuse-S, OpenVINO, its own precision", openvino_job(plain, None)),
    ]
    images = np.random.default_rng(0).uniform(0, 255, (4, *SIZE, 3)).astype("float32")
    for variant in ("S", "Ti"):
        keras.utils.set_random_seed(0)
        model = TransFuse(variant, (*SIZE, 3))
        for quantize in ("none", "float16", "dynamic", "int8"):
            path = folder / f"{variant}-{quantize}.tflite"
            export_litert(model, path, quantize, images if quantize == "int8" else None)
            jobs.append((f"{variant}, LiteRT {quantize}", {"kind": "litert", "path": str(path)}))
    export_saved_model(TransFuse("S", (*SIZE, 3)), folder / "saved_model")
    settings = {"kind": "saved_model", "path": str(folder / "saved_model")}
    return [*jobs, ("S, TensorFlow", settings)]


def openvino_job(path, precision):
    return {"kind": "openvino", "path": str(path), "precision": precision}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        jobs = jobs_in(Path(folder))
        runs = []
        for name, settings in jobs:
            settings = {**settings, "threads": arguments.threads}
            _, run = stack.enter_context(process(name, settings["kind"], settings))
            runs.append(run)
        results = take_turns(runs, arguments.rounds)
    medians = [1e3 * np.median([answer["seconds"] for answer in found]) for found in results]
    print(f"\n{'':52}{'median ms':>10}{'of U-Net':>10}{'of plain S':>12}")
    for (name, _), median in zip(jobs, medians, strict=True):
        print(f"{name:52}{median:10.1f}{median / medians[0]:10.2f}{median / medians[2]:12.2f}")


if __name__ == "__main__":
    main()
