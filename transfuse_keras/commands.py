"""What the commands of cli.py do with the options that were given.

Keras is imported by the part that a command needs, after all that can be told without it.
"""

import logging
import os
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from transfuse_keras.errors import InputError, blaming
from transfuse_keras.files import read_json
from transfuse_keras.runs.folder import (
    COMPLETE,
    CONFIG,
    choose_run_folder,
    find_unfinished,
    refuse_taken,
)
from transfuse_keras.runs.members import find_members
from transfuse_keras.runs.options import (
    describe_recipe,
    find_settings,
    parse_settings,
    parse_spacing,
    parse_threshold,
    recipe_of,
    refuse_missing_data,
    refuse_other_settings,
    spell_all,
)
from transfuse_keras.runs.settings import (
    ABLATION_FILE,
    FOLDS_FILE,
    log_other_versions,
    plain_settings,
    read_settings,
)
from transfuse_keras.tasks import find_task
from transfuse_keras.training.paper_tables import TABLES
from transfuse_keras.versions import backend, has_tensorflow

log = logging.getLogger(__name__)


def run_train(out=None, resume=False, source=None, devices=None, **given):
    job = pop_job(given, out, devices)
    wanted = {
        "keep_checkpoints": given.pop("keep_checkpoints", False),
        "export": not given.pop("no_export", False),
        "report": not given.pop("no_report", False),
    }
    if "folds" in given and "fold" not in given:
        return train_folds(given, out, resume, source, devices, job, wanted)
    longer = None
    run = find_begun(out, resume, source, given)
    if run is None:
        plan_if_asked(given, source, job)
    if run is None:
        settings = find_settings(given, source)
        if source is not None:
            settings = replace(settings, time_limit=None)  # it has the epochs that were chosen
        if job and settings.time_limit:
            raise InputError("--time-limit: is for one machine; give --epochs for several.")
        if not job or job[2] == 0:  # the others find what process 0 has begun
            refuse_taken(out)
        own = recipe_of(settings.task, settings.data)
        if source is None and (sentence := describe_recipe(given, own)):
            log.info(sentence)
    else:
        settings = read_settings(run / CONFIG)
        if given.get("epochs", settings.recipe.epochs) != settings.recipe.epochs:
            longer = given.pop("epochs")
        refuse_other_settings(run, settings, given, source)
        if (run / COMPLETE).is_file() and longer is None:
            log.info(f"{run}: is complete, there is nothing left to do.")
            return
    settings.check()
    refuse_missing_data(settings.data)
    import_tensorflow()
    if job:
        from transfuse_keras.training.hosts import check_job

        check_job(*job)
    from transfuse_keras.training.train import exported_elsewhere, train

    if run is not None or source is not None:
        log_other_versions(run / CONFIG if run is not None else Path(source))
    run = train(settings, run or out, run is not None, devices, job, longer, **wanted)
    if not exported_elsewhere(wanted["export"]):  # else another process has said it
        log_next_commands(run)


def run_plan(data, save_task=None, **given):
    file = plan_data(data, save_task, given, alone=True)
    log.info(f"Next: transfuse train --task {shlex.quote(str(file))} --data {shlex.quote(data)}")


def plan_data(data, save_task, given, alone=False):
    """Plan a task for a folder. Returns: Path of the task file."""
    spacing = parse_spacing(given.get("spacing"))
    refuse_missing_data(data)
    import_tensorflow()
    from transfuse_keras.training.planning import plan_folder

    names = ("weights", "masks", "group")
    options = {name: given[name] for name in names if name in given}
    return plan_folder(data, save_task, spacing=spacing, alone=alone, **options)


def plan_if_asked(given, source, job=None):
    """Without a task, but with data, plan one: `given` has its file as the task then."""
    save_task = given.pop("save_task", None)
    if "task" not in given and "data" in given and source is None and not job:
        given["task"] = str(plan_data(given["data"], save_task, given))
    elif save_task is not None:
        raise InputError("--save-task: a plan is made of --data, without --task.")


def pop_job(given, out, devices):
    """(coordinator, number of processes, index of this one) by the options, or by the scheduler
    that started several on JAX for all devices; else None."""
    names = ("coordinator", "processes", "process")
    job = {name: given.pop(name) for name in names if name in given}
    if not job:
        if devices != "all" or backend() != "jax":
            return None
        from transfuse_keras.training.hosts import find_job

        found = find_job()
        if found and out is None:
            raise InputError("--devices all: give a run folder that all hosts see by --out.")
        return found
    if missing := [name for name in names if name not in job]:
        raise InputError(f"{spell_all(names)} go together; give {spell_all(missing)} too.")
    if out is None:
        raise InputError("--coordinator: give a run folder that all hosts see by --out.")
    return tuple(job[name] for name in names)


def find_begun(out, resume, source, given):
    """The folder of the run to go on with; None to start one, as without --resume.

    --resume starts the run in --out that is not there yet, so that a script which is started again
    and again needs one command only.
    """
    if not resume:
        return None
    if out is not None:
        if (Path(out) / CONFIG).is_file():
            return Path(out)
        if not {"task", "data"} & given.keys() and source is None:
            raise InputError(
                f"{out}: has no {CONFIG}, so there is no run to go on with; give --task or --data "
                "and all other options to start it."
            )
        return None
    if source is not None:
        return find_unfinished(None, read_settings(source).task.name)
    if "task" not in given:
        raise InputError("--resume: give the run folder by --out, or --task for its newest run.")
    return find_unfinished(None, find_task(given["task"]).name)


def log_next_commands(run):
    """Say what can be done with a complete run."""
    own = Path(sys.argv[0])
    program = str(own) if own.name == "transfuse" and not shutil.which("transfuse") else "transfuse"
    run = shlex.quote(str(run))
    log.info(
        f"Next:\n"
        f"  {program} predict --model {run} --input FILES --out DIR   # masks of your images\n"
        f"  {program} evaluate --model {run} --data DIR               # scores on other data\n"
        f"  {program} report {run}                                    # the report again"
    )


def train_folds(given, out, resume, source, devices, job, wanted):
    """Cross-validation, from the start or gone on with."""
    if job:
        raise InputError("--coordinator: train one fold at a time, by --fold.")
    if resume and out is None:
        raise InputError("--resume: give the folder to go on in by --out.")
    file = Path(out or "") / FOLDS_FILE
    if resume and file.is_file():
        plain = read_json(file)
        settings = read_settings(file)
        with blaming(file, "does not tell the number of folds"):
            count = int(plain["folds"])
        refuse_other_settings(Path(out), settings, given, source, count)
        if (Path(out) / COMPLETE).is_file():
            log.info(f"{out}: is complete, there is nothing left to do.")
            return
    else:
        plan_if_asked(given, source)
        settings, count = find_settings(given, source), given["folds"]
        plain = {**plain_settings(settings), "folds": count}
        refuse_taken(out, FOLDS_FILE)
    settings.check()
    refuse_missing_data(settings.data)
    import_tensorflow()
    from transfuse_keras.training.cross_validation import cross_validate
    from transfuse_keras.training.train import train

    if settings.time_limit:
        settings = replace(settings, time_limit=settings.time_limit / count)
    folder = Path(out) if out else choose_run_folder(None, f"{settings.task.name}-folds")
    cross_validate(
        lambda run, fold, resume: train(
            replace(settings, fold=fold), run, resume, devices, **wanted
        ),
        plain,
        folder,
        count,
        resume,
    )
    log.info(f"Done: {folder}/report.html")


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


def run_check(task, data, spacing=None, out=None, masks=None, group=None):
    task, spacing = find_task(task), parse_spacing(spacing)
    refuse_missing_data(data)
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
    found = describe_count(report.errors, "error"), describe_count(report.warnings, "warning")
    print(f"{found[0]}, {found[1]}.")
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
    log.info(f"Done: {out}, {describe_count(listing.samples, 'image')} with masks")


def describe_count(items, name):
    """Such as "1 error" or "2 errors"."""
    return f"{len(items)} {name}{'' if len(items) == 1 else 's'}"


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
    return path.suffix in (".tflite", ".onnx", ".xml")


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
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        from transfuse_keras.training.train import run_with_tensorflow

        folders = [x for name, x in (("--data", data), ("--out", out)) if x for x in (name, x)]
        asked = ["--model", *model, "--format", *format, "--quantize", *quantize, *folders]
        asked += {"none": [], "tta": ["--tta"]}.get(flip, ["--flip", flip])
        return run_with_tensorflow(["export", *map(str, asked)])
    import_tensorflow()
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
    import_tensorflow()
    from transfuse_keras.benchmark.measure import benchmark
    from transfuse_keras.benchmark.table import format_benchmark

    result = benchmark(Path(model), image_size, threads, rounds)
    print("\n".join(["", *format_benchmark(result)]))


def import_tensorflow():
    """Import TensorFlow, see `silenced`; nothing is done on another backend or without it."""
    other = os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow"
    if other or not has_tensorflow():
        return
    from transfuse_keras.data.quiet import silenced
    from transfuse_keras.runs.processor import prefer_onednn

    prefer_onednn()
    with silenced():
        import tensorflow  # noqa: F401
