"""The command `transfuse train`: begin a run, or go on with one, by the options that were given."""

import logging
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
from transfuse_keras.runs.options import (
    ENDING,
    OF_RECIPE,
    describe_recipe,
    find_plan_options,
    find_settings,
    keep_ending,
    leaves_start_open,
    recipe_of,
    refuse_missing_data,
    spell_all,
)
from transfuse_keras.runs.other_settings import refuse_other_settings
from transfuse_keras.runs.processor import import_tensorflow
from transfuse_keras.runs.settings import (
    FOLDS_FILE,
    log_other_versions,
    plain_settings,
    read_settings,
)
from transfuse_keras.tasks import find_task
from transfuse_keras.training.hosts import (
    KUBERNETES,
    SCHEDULERS,
    TF_CONFIG,
    TORCHRUN,
    check_job,
    find_job,
)
from transfuse_keras.training.tracking import find_trackers
from transfuse_keras.versions import backend, find_exporter

log = logging.getLogger(__name__)

# by what processes were started -> the backends on which they find each other; by others JAX
ABLE = {TORCHRUN: ["torch"], TF_CONFIG: ["jax", "tensorflow"]}
AUTO_BATCH_OF_FOLDS = (
    "--auto-batch: train one --fold with it, then give its --batch-size and --lr to all."
)


def begin(out=None, resume=False, source=None, devices=None, **given):
    job = pop_job(given, out, devices)
    ending, track = tuple(x for x in ENDING if given.pop(x, False)), given.pop("track", [])
    if "folds" in given and "fold" not in given:
        return train_folds(given, out, resume, source, devices, job, ending, track)
    longer = None
    run = find_begun(out, resume, source, given)
    save_task = given.pop("save_task", None)
    find_trackers(track, [run] if run else [])
    if run is None:
        plan_if_asked(given, save_task, source, job)
        faults = []
        if given.get("auto_batch") and (job or devices):
            faults.append("--auto-batch: is for one device; give --batch-size for several.")
        if job and "time_limit" in given:
            faults.append("--time-limit: is for one machine; give --epochs for several.")
        if source is None and not job:
            choose_start(given, faults)
        settings = replace(find_settings(given, source, faults), ending=ending)
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
        settings = keep_ending(settings, ending)
    settings.check()
    refuse_missing_data(settings.data)
    import_tensorflow()
    if job:
        check_job(*job)
    from transfuse_keras.training.train import exported_elsewhere, train_task

    if run is not None or source is not None:
        log_other_versions(run / CONFIG if run is not None else Path(source))
    options = {**ending_of(settings), "track": track}
    run = train_task(settings, run or out, run is not None, devices, job, longer, **options)
    exporter = find_exporter() if options["export"] else None
    # else another process has said it, or will
    if not exported_elsewhere(exporter, job) and (not job or job[2] == 0):
        log_next_commands(run)


def ending_of(settings):
    """What `train_task` is to leave, by the options that Settings were given."""
    return {
        "keep_checkpoints": "keep_checkpoints" in settings.ending,
        "export": "no_export" not in settings.ending,
        "report": "no_report" not in settings.ending,
    }


def train_folds(given, out, resume, source, devices, job, ending, track):
    """Cross-validation, from the start or gone on with."""
    if job:
        raise InputError("--coordinator: train one fold at a time, by --fold.")
    if resume and out is None:
        raise InputError("--resume: give the folder to go on in by --out.")
    save_task = given.pop("save_task", None)
    track = find_trackers(track, Path(out).glob("fold-*") if resume else [])
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
        settings = keep_ending(settings, ending)
    else:
        plan_if_asked(given, save_task, source)
        faults = [AUTO_BATCH_OF_FOLDS] if given.get("auto_batch") else []
        if source is None:
            choose_start(given, faults)
        settings = replace(find_settings(given, source, faults), ending=ending)
        count = given["folds"]
        plain = {**plain_settings(settings), "folds": count}
        refuse_taken(out, FOLDS_FILE)
    settings.check()
    refuse_missing_data(settings.data)
    import_tensorflow()
    from transfuse_keras.training.cross_validation import cross_validate
    from transfuse_keras.training.train import train_task

    if settings.time_limit:
        settings = replace(settings, time_limit=settings.time_limit / count)
    folder = Path(out) if out else choose_run_folder(None, f"{settings.task.name}-folds")

    def train_fold(run, fold, begun):
        # what was found on the data of a fold that was begun is in its own settings alone
        own = read_settings(run / CONFIG) if begun else replace(settings, fold=fold)
        train_task(own, run, begun, devices, **ending_of(settings), track=track)

    cross_validate(
        train_fold,
        plain,
        folder,
        count,
        resume,
    )
    log.info(f"Done: {folder}/report.html")


def plan_if_asked(given, save_task, source, job=None):
    """Without a task, but with data, plan one: `given` has its file as the task then."""
    if "task" not in given and "data" in given and source is None and not job:
        given["task"] = str(plan_data(given["data"], save_task, given))
        if changed := [name for name in (*OF_RECIPE, "recipe", "time_limit") if name in given]:
            log.info(f"This training differs from the plan by {spell_all(changed)}.")
    elif save_task is not None:
        raise InputError("--save-task: a plan is made of --data, without --task.")


def choose_start(given, faults):
    """Let a training on data start from published weights, if they can be had and neither options
    nor task say from what: `given` names the weights then."""
    settings = find_settings(given, faults=faults)
    if leaves_start_open(given, settings.task):
        refuse_missing_data(settings.data)
        import_tensorflow()
        from transfuse_keras.training.planning import choose_weights

        given["weights"] = choose_weights(settings.recipe.variant)


def plan_data(data, save_task, given, alone=False):
    """Plan a task for a folder. Returns: Path of the task file."""
    options = find_plan_options(given)
    refuse_missing_data(data)
    import_tensorflow()
    from transfuse_keras.training.planning import plan_folder

    return plan_folder(data, save_task, alone=alone, **options)


def pop_job(given, out, devices):
    """(coordinator, number of processes, index of this one) by the options, or by what started
    several for all devices; None for a process that trains alone."""
    names = ("coordinator", "processes", "process")
    job = {name: given.pop(name) for name in names if name in given}
    if not job:
        found = find_job()
        if found is None or (devices != "all" and found[0] in (*SCHEDULERS, KUBERNETES)):
            return None  # a task of Slurm alone, say
        by, *place = found
        able = ABLE.get(by, ["jax"])
        if devices != "all" or backend() not in able:
            raise InputError(
                f"{by} started {place[1]} processes, which train together with "
                f"KERAS_BACKEND={' or '.join(able)} and --devices all only; see docs/devices.md."
            )
        if backend() == "tensorflow":
            place[0] = None  # it reads TF_CONFIG itself
        if out is None:
            raise InputError("--devices all: give a run folder that all hosts see by --out.")
        if by == TORCHRUN and place[2]:  # one terminal shows what all of them print
            logging.getLogger("transfuse_keras").setLevel(logging.WARNING)
        log.info(f"{by} started {place[1] or 'several'} processes: they train together.")
        return tuple(place)
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
