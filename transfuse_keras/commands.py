"""What the commands do with the options that were given.

Keras is imported by the part that a command needs, after all that can be told without it.
"""

import logging
import shlex
from importlib.util import find_spec
from pathlib import Path

from transfuse_keras.errors import InputError, quantity
from transfuse_keras.export.budgets import BY_TORCH
from transfuse_keras.runs.folder import choose_run_folder, refuse_taken
from transfuse_keras.runs.members import find_members
from transfuse_keras.runs.options import (
    parse_settings,
    parse_spacing,
    parse_threshold,
    refuse_missing_data,
    spell_all,
)
from transfuse_keras.runs.processor import import_tensorflow
from transfuse_keras.runs.settings import ABLATION_FILE
from transfuse_keras.tasks import find_task
from transfuse_keras.training.begin import begin, plan_data
from transfuse_keras.training.paper_tables import TABLES
from transfuse_keras.versions import backend, has_tensorflow

log = logging.getLogger(__name__)


def run_train(**given):
    return begin(**given)


def run_plan(data, save_task=None, **given):
    file = plan_data(data, save_task, given, alone=True)
    log.info(f"Next: transfuse train --task {shlex.quote(str(file))} --data {shlex.quote(data)}")


def run_ablate(
    table=tuple(TABLES), only_list=False, rows=None, seeds=2, out=None, resume=False, **given
):
    if only_list:
        import_tensorflow()
        from transfuse_keras.training.ablation import list_rows

        print("\n".join(list_rows(given.get("variant", "S"), table)))
        return
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: give 1 or more.")
    if resume and not out:
        raise InputError("--resume: give the folder to go on in by --out.")
    settings = parse_settings(given)
    settings.check()
    refuse_missing_data(settings.data)
    if not resume:
        refuse_taken(out, ABLATION_FILE)
    import_tensorflow()
    from transfuse_keras.training.ablation import ablate

    folder = Path(out) if out else choose_run_folder(None, f"ablation-{settings.task.name}")
    ablate(settings, table, folder, seeds, rows, resume)
    for number in table:
        path = folder / f"table-{number}.md"
        print(f"{path.read_text(encoding='utf-8')}\nDone: {path}")


def run_check(data, task=None, spacing=None, out=None, masks=None, group=None):
    task, spacing = find_task(task) if task else None, parse_spacing(spacing)
    refuse_missing_data(data)
    if task is None:
        from transfuse_keras.data.classes import make_task

        task = make_task(Path(data), masks)
        if task.field is not None:
            raise InputError(
                f"{data}: holds volumes; give --task, such as the file that transfuse plan writes."
            )
    from transfuse_keras.data.check import check
    from transfuse_keras.data.contact_sheet import write_contact_sheet

    report = check(task, data, spacing, masks, group)
    for kind, lines in (("ERROR", report.errors), ("warning", report.warnings)):
        for line in lines:
            print(f"{kind}: {line}")
    print("\n".join(["", *report.notes, "", *report.table(task.classes), ""]))
    sheet = Path(out or f"check-{task.name}.png")
    if write_contact_sheet(sheet, report.splits, task):
        print(f"Contact sheet: {sheet}")
    errors, warnings = len(report.errors), len(report.warnings)
    print(f"{quantity(errors, 'error')}, {quantity(warnings, 'warning')}.")
    return 1 if report.errors else 0


def run_convert(data, out, task=None, spacing=None, masks=None, group=None):
    task, spacing = find_task(task) if task else None, parse_spacing(spacing)
    refuse_missing_data(data)
    from transfuse_keras.data.convert import convert

    listing = convert(data, out, task, spacing, masks, group)
    for sentence in listing.notes:
        log.info(sentence)
    for sentence in listing.warnings:
        log.warning(sentence)
    log.info(f"Done: {out}, {quantity(len(listing.samples), 'image')} with masks")


def run_evaluate(model=None, data=None, out=None, task=None, score_all=False, **options):
    if "merge" in options:
        given = {"model": model, "data": data, "out": out, "task": task, **options}
        return merge_evaluation(**{name: x for name, x in given.items() if x is not None})
    if model is None:
        raise InputError("--model: give a run folder or a model file.")
    task = find_task(task) if task else None
    options = parse_prediction(options)
    spacing = parse_spacing(options.pop("spacing", None))
    find_members(model)
    refuse_missing_data(data)
    shard = options.get("shard")
    if shard is None:
        refuse_taken(out)
    elif out is None:
        raise InputError("--shard: give the folder of all shards by --out.")
    import_tensorflow()
    from transfuse_keras.evaluation.evaluate_model import evaluate_model

    options |= {"task": task, "spacing": spacing, "everything": score_all}
    folder = evaluate_model(model, data, out=out, **options)
    if shard is None:
        log.info(f"Done: {folder}/report.html")
    else:
        log.info(f"Done: {folder}. After the last shard: transfuse evaluate --merge {out}")


def merge_evaluation(merge, **others):
    """Pool the shards of an evaluation in the folder that --merge names."""
    if others:
        raise InputError(f"--merge: stands alone; leave out {spell_all(others)}.")
    from transfuse_keras.evaluation.pooling import merge_shards

    merge_shards(Path(merge))
    log.info(f"Done: {merge}/report.html")


def run_predict(model, input, out, task=None, no_overlays=False, runtime=None, **options):
    if options.get("threshold") == "auto":
        raise InputError("--threshold auto: transfuse evaluate chooses, then predict follows it.")
    task = find_task(task) if task else None
    options = parse_prediction(options)
    members = find_members(model)
    for path in members if runtime is not None else ():
        if path.suffix != ".keras" and not (path / "model.keras").is_file():
            raise InputError(f"{path}: --runtime {runtime} is for run folders and .keras files.")
    if runtime is None and not {"precision", "jit"} & set(options):  # these are of model.keras
        from transfuse_keras.inference.choose import choose_file

        members = [choose_file(path) for path in members]
    if not all(map(is_exported, members)):
        import_tensorflow()
    from transfuse_keras.inference.predict_files import predict_files

    options |= {"task": task, "overlays": not no_overlays}
    failed = predict_files(members, input, Path(out), **options)
    log.info(f"Done: {out}")
    return 1 if failed else 0


def run_node(dicomweb, model, modality, task=None, **options):
    if options.get("threshold") == "auto":
        raise InputError("--threshold auto: transfuse evaluate chooses, then the node follows it.")
    task = find_task(task) if task else None
    options = parse_prediction(options)
    members = find_members(model)
    from transfuse_keras.inference.choose import choose_file

    members = [choose_file(path) for path in members]
    if not all(map(is_exported, members)):
        import_tensorflow()
    from transfuse_keras.inference.node import watch

    modalities = [name.upper() for name in modality]
    return 1 if watch(members, dicomweb, modalities, task, **options) else 0


def is_exported(path):
    """Whether a model is a file that is run without TensorFlow."""
    from transfuse_keras.inference.predictor import EXPORTED

    return path.suffix in EXPORTED


def parse_prediction(options):
    """Options of a prediction as `predict_files` takes them."""
    if "flip" in options:
        flip = options.pop("flip")
        options["flips"] = "" if flip == "none" else flip
    if "threshold" in options:
        options["threshold"] = parse_threshold(options["threshold"])
    if "shard" in options:
        from transfuse_keras.inference.shard import parse_shard

        options["shard"] = parse_shard(options["shard"])
    return options


def refuse_missing_model(path):
    """Raise InputError if there is nothing at the path of --model."""
    if not Path(path).exists():
        raise InputError(f"{path}: no such model; give a run folder or the file of a model.")


def run_compare(first, second):
    from transfuse_keras.evaluation.compare import compare, format_comparison

    print("\n".join(format_comparison(compare(Path(first), Path(second)))))


def run_report(folder):
    from transfuse_keras.evaluation.report import write_report

    write_report(Path(folder))
    log.info(f"Done: {folder}/report.html")


def run_export(model, format, quantize=("none",), data=None, out=None, flip="none"):
    find_members(model)
    refuse_missing_data(data)
    by_torch = not has_tensorflow() and find_spec("torch") and set(format) <= set(BY_TORCH)
    exporter = "torch" if by_torch else "tensorflow"
    if computes_elsewhere(exporter):
        from transfuse_keras.training.train import run_by

        folders = [x for name, x in (("--data", data), ("--out", out)) if x for x in (name, x)]
        asked = ["--model", *model, "--format", *format, "--quantize", *quantize, *folders]
        asked += {"none": [], "tta": ["--tta"]}.get(flip, ["--flip", flip])
        return run_by(exporter, ["export", *map(str, asked)])
    from transfuse_keras.export.export_model import export_model

    export_model(model, format, quantize, out, data, "" if flip == "none" else flip)


def run_push(model, repo=None, out=None, licence=None, pictures=False):
    if repo is None and out is None:
        raise InputError("Give --repo USER/NAME to upload to, or --out DIR to write a folder only.")
    refuse_missing_model(model)
    from transfuse_keras.publishing.push import push

    push(Path(model), repo, out, licence, pictures)
    if out is not None:
        log.info(f"Done: {out}/README.md")


def run_inspect(files):
    for file in files:
        refuse_missing_model(file)
    from transfuse_keras.inference.describe import describe_file

    for file in files:
        found = describe_file(file)
        width = max(map(len, found))
        print("\n".join([str(file), *(f"  {key:{width}}  {found[key]}" for key in found)]))


def run_serve(model, host="127.0.0.1", port=8080, max_mb=256, timeout=60):
    members = find_members(model)
    if min(max_mb, timeout) < 1:
        raise InputError("--max-mb and --timeout must be 1 or more.")
    from transfuse_keras.serving.serve import serve

    serve(members, host, port, max_mb, timeout)


def run_benchmark(model, image_size=None, threads=None, rounds=30):
    refuse_missing_model(model)
    # files of that size are exported
    if computes_elsewhere("tensorflow") and image_size is not None:
        from transfuse_keras.training.train import run_by

        asked = ["--model", model, "--image-size", *image_size, "--rounds", rounds]
        asked += [] if threads is None else ["--threads", threads]
        return run_by("tensorflow", ["benchmark", *map(str, asked)])
    from transfuse_keras.benchmark.measure import benchmark
    from transfuse_keras.benchmark.table import format_benchmark

    result = benchmark(Path(model), image_size, threads, rounds)
    print("\n".join(["", *format_benchmark(result)]))


def computes_elsewhere(exporter):
    """Whether Keras computes with another backend than that which writes the exports."""
    import_tensorflow()
    return backend() != exporter
