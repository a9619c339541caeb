"""TransFuse-S in plain PyTorch, as a PyTorch user would write Fig. 1 of the paper.

What the benchmarks measure against. It needs PyTorch alone; its tensors have the names and shapes
of the authors' released checkpoints, so that `export_pytorch` writes files for it.
"""

import torch
from torch import nn
from torch.nn.functional import interpolate, relu, scaled_dot_product_attention


class Named(nn.Module):
    """Convolution, normalisation and ReLU, the last two if wanted, under the names conv and bn."""

    def __init__(self, inputs, outputs, size, bn=False, act=False, bias=True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)
        self.bn = nn.BatchNorm2d(outputs) if bn else nn.Identity()
        self.act = act

    def forward(self, x):
        x = self.bn(self.conv(x))
        return relu(x) if self.act else x


def enlarge(x, scale=2):
    return interpolate(x, scale_factor=scale, mode="bilinear", align_corners=True)


def conv_bn(inputs, outputs, size):
    return [nn.Conv2d(inputs, outputs, size, padding=size // 2), nn.BatchNorm2d(outputs)]


class BasicBlock(nn.Module):
    """A block of ResNet-34."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride > 1:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + self.downsample(x))


class ResNet(nn.Module):
    """ResNet-34 without its last stage: maps at strides 4, 8 and 16."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(*[BasicBlock(64, 64, 1) for _ in range(3)])
        self.layer2 = nn.Sequential(
            *[BasicBlock(128 if i else 64, 128, 1 + (not i)) for i in range(4)]
        )
        self.layer3 = nn.Sequential(
            *[BasicBlock(256 if i else 128, 256, 1 + (not i)) for i in range(6)]
        )

    def forward(self, x):
        g2 = self.layer1(self.maxpool(relu(self.bn1(self.conv1(x)))))
        g1 = self.layer2(g2)
        return g2, g1, self.layer3(g1)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = scaled_dot_product_attention(*qkv)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, dim))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """The 8 layers of DeiT-S: tokens as a map at stride 16."""

    def __init__(self, size, dim=384, depth=8, heads=6):
        super().__init__()
        self.grid = size[0] // 16, size[1] // 16
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))  # stored, never used
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], dim))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, 16, 16)
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x):
        x = self.patch_embed.proj(x)
        grid = x.shape[2:]
        x = x.flatten(2).transpose(1, 2) + self.positions(grid)
        return self.norm(self.blocks(x)).transpose(1, 2).unflatten(2, grid)

    def positions(self, grid):
        """The position embeddings, resized where images have another size."""
        if tuple(grid) == self.grid:
            return self.pos_embed
        stored = self.pos_embed.transpose(1, 2).unflatten(2, self.grid)
        resized = interpolate(stored, size=grid, mode="bilinear", align_corners=True)
        return resized.flatten(2).transpose(1, 2)


class DoubleConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        first, second = conv_bn(inputs, outputs, 3), conv_bn(outputs, outputs, 3)
        self.double_conv = nn.Sequential(*first, nn.ReLU(), *second)
        self.identity = nn.Sequential(*conv_bn(inputs, outputs, 1))

    def forward(self, x):
        return relu(self.double_conv(x) + self.identity(x))


class Gate(nn.Module):
    def __init__(self, gating, skip, width):
        super().__init__()
        self.W_g = nn.Sequential(*conv_bn(gating, width, 1))
        self.W_x = nn.Sequential(*conv_bn(skip, width, 1))
        self.psi = nn.Sequential(*conv_bn(width, 1, 1))

    def forward(self, g, x):
        return x * torch.sigmoid(self.psi(relu(self.W_g(g) + self.W_x(x))))


class Up(nn.Module):
    """Upsampling, with a gated skip connection in the decoder, and a double convolution."""

    def __init__(self, inputs, outputs, skip=0):
        super().__init__()
        self.conv = DoubleConv(inputs + skip, outputs)
        if skip:
            self.attn_block = Gate(inputs, skip, outputs)

    def forward(self, x, skip=None):
        x = enlarge(x)
        if skip is not None:
            x = torch.cat([self.attn_block(x, skip), x], 1)
        return self.conv(x)


class Residual(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        half = outputs // 2
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), Named(inputs, half, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(half), Named(half, half, 3)
        self.bn3, self.conv3 = nn.BatchNorm2d(half), Named(half, outputs, 1)
        self.skip_layer = Named(inputs, outputs, 1)

    def forward(self, x):
        y = self.conv1(relu(self.bn1(x)))
        y = self.conv2(relu(self.bn2(y)))
        return self.conv3(relu(self.bn3(y))) + self.skip_layer(x)


class BiFusion(nn.Module):
    def __init__(self, g, t, reduction, outputs):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(t, t // reduction, 1), nn.Conv2d(t // reduction, t, 1)
        self.spatial = Named(2, 1, 7, bn=True, bias=False)
        self.W_g, self.W_x = Named(g, outputs, 1, bn=True), Named(t, outputs, 1, bn=True)
        self.W = Named(outputs, outputs, 3, bn=True, act=True)
        self.residual = Residual(g + t + outputs, outputs)

    def forward(self, g, t):
        product = self.W(self.W_g(g) * self.W_x(t))
        pooled = torch.cat([g.max(1, keepdim=True)[0], g.mean(1, keepdim=True)], 1)
        channels = self.fc2(relu(self.fc1(t.mean((2, 3), keepdim=True))))
        parts = [torch.sigmoid(self.spatial(pooled)) * g, torch.sigmoid(channels) * t, product]
        return self.residual(torch.cat(parts, 1))


class PlainTransFuse(nn.Module):
    """Images (B, 3, H, W), normalised, to logits (mask, transformer, fusion), each (B, M, H, W)."""

    def __init__(self, size=(192, 256), classes=1):
        super().__init__()
        self.resnet, self.transformer = ResNet(), Transformer(size)
        self.up1, self.up2 = Up(384, 128), Up(128, 64)
        self.up_c = BiFusion(256, 384, 4, 256)
        self.up_c_1_1, self.up_c_1_2 = BiFusion(128, 128, 2, 128), Up(256, 128, skip=128)
        self.up_c_2_1, self.up_c_2_2 = BiFusion(64, 64, 1, 64), Up(128, 64, skip=64)

        def head(*first):
            return nn.Sequential(*first, Named(64, 64, 3, bn=True, act=True), Named(64, classes, 3))

        self.final_x = head(Named(256, 64, 1, bn=True, act=True))
        self.final_1, self.final_2 = head(), head()

    def forward(self, x):
        g2, g1, g0 = self.resnet(x)
        t0 = self.transformer(x)
        t1 = self.up1(t0)
        t2 = self.up2(t1)
        f0 = self.up_c(g0, t0)
        decoded = self.up_c_1_2(f0, self.up_c_1_1(g1, t1))
        decoded = self.up_c_2_2(decoded, self.up_c_2_1(g2, t2))
        return (
            enlarge(self.final_2(decoded), 4),
            enlarge(self.final_1(t2), 4),
            enlarge(self.final_x(f0), 16),
        )


def structure_loss(logits, mask):
    """Boundary-weighted BCE and IoU (paper, eq. 3), the mean over images and classes."""
    pooled = nn.functional.avg_pool2d(mask, 31, 1, 15)
    weight = 1 + 5 * (pooled - mask).abs()
    bce = nn.functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    bce = (weight * bce).sum((2, 3)) / weight.sum((2, 3))
    probability = torch.sigmoid(logits)
    common = (probability * mask * weight).sum((2, 3))
    both = ((probability + mask) * weight).sum((2, 3))
    return (bce + 1 - (common + 1) / (both - common + 1)).mean()


def training_loss(outputs, mask):
    """The loss of the three heads, weighed as in the authors' code."""
    return sum(w * structure_loss(x, mask) for w, x in zip((0.5, 0.3, 0.2), outputs, strict=True))
