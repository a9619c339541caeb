"""Reads what trackers of experiments were told without a network."""

import json
import struct

import pytest

BLOCK = 2**15  # of LevelDB's logs


def keep_here(monkeypatch, folder):
    """Both libraries keep what they are told below a folder."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (folder / "store").as_uri())


def read_wandb(run):
    """(configuration, rows, summary) of the .wandb files of a run, oldest first.

    Such a file is a log of LevelDB behind 7 bytes of its own; its records are the library's.
    """
    pytest.importorskip("wandb").teardown()  # waits until its own process has written all
    from wandb.proto.wandb_internal_pb2 import Record

    config, rows, summary = {}, [], {}
    for path in sorted(run.glob("wandb/*run-*/*.wandb"), key=lambda path: path.stat().st_mtime):
        content, at, whole = path.read_bytes(), 7, b""
        while at + 7 <= len(content):
            _, length, kind = struct.unpack_from("<IHB", content, at)
            if BLOCK - at % BLOCK < 7 or not kind:  # the end of a block is filled up
                at += BLOCK - at % BLOCK
                continue
            whole += content[at + 7 : at + 7 + length]
            at += 7 + length
            if kind not in (1, 4):  # a whole record, or its last part
                continue
            record, whole = Record.FromString(whole), b""
            for item in record.run.config.update:
                config[item.key] = json.loads(item.value_json)
            summary |= values(record.summary.update)
            if row := values(record.history.item):
                rows.append({key: x for key, x in row.items() if not key.startswith("_")})
    return config, rows, summary


def values(items):
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def read_mlflow(run):
    """(parameters, rows) of the run that its tracking.json names."""
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    client, own = MlflowClient(), json.loads((run / "tracking.json").read_text())["mlflow"]
    data = client.get_run(own).data
    rows = {}
    for name in data.metrics:
        for metric in client.get_metric_history(own, name):
            rows.setdefault(metric.step, {})[name] = metric.value
    return data.params, [{"epoch": step, **rows[step]} for step in sorted(rows)]
