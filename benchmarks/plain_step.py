"""Training steps of TransFuse-S in plain PyTorch, for training_step.py.

It runs this by an interpreter that has PyTorch. A first line of JSON has the MB that the process
held after its imports, and with the model. Then it trains a step for each line of standard input,
with a line of JSON for it: seconds, CPU seconds, and the most MB held so far. In float32 the steps
are eager, as the authors train; in mixed_bfloat16 they are compiled, under PyTorch's autocast.
"""

import json
import sys
import time
from pathlib import Path

import torch
from plain_transfuse import PlainTransFuse, training_loss
from torch.nn.utils import clip_grad_norm_


def memory(field):
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(field)]
    return 1024 * int(line.split()[1]) / 1e6


def main(height, width, batch, precision):
    height, width, batch = int(height), int(width), int(batch)
    mixed = precision == "mixed_bfloat16"
    imports = memory("VmRSS")
    torch.manual_seed(0)
    model = PlainTransFuse((height, width)).train()
    forward = torch.compile(model) if mixed else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, betas=(0.5, 0.999))
    images = torch.randn(batch, 3, height, width)
    masks = (torch.rand(batch, 1, height, width) > 0.5).float()
    print(json.dumps([imports, memory("VmRSS")]), flush=True)
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            maps = forward(images)
        training_loss([x.float() for x in maps], masks).backward()
        clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        spent = time.perf_counter() - start, time.process_time() - used
        print(json.dumps([*spent, memory("VmHWM")]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
