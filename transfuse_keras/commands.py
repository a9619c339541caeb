"""What the commands of cli.py do with their arguments."""

from dataclasses import asdict, replace
from pathlib import Path

from transfuse_keras.benchmark.measure import benchmark
from transfuse_keras.benchmark.table import format_benchmark
from transfuse_keras.data.check import check
from transfuse_keras.data.contact_sheet import write_contact_sheet
from transfuse_keras.data.layouts.listing import check_spacing
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.compare import compare, format_comparison
from transfuse_keras.evaluation.evaluate_model import evaluate_model
from transfuse_keras.evaluation.report import write_report
from transfuse_keras.export.export_model import export_model
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.runs.folder import COMPLETE, CONFIG, choose_run_folder, find_unfinished
from transfuse_keras.runs.settings import Settings, backend, read_settings
from transfuse_keras.tasks import find_task
from transfuse_keras.tasks.task import RECIPE_CHANGES
from transfuse_keras.training.ablation import TABLES, ablate, list_rows
from transfuse_keras.training.cross_validation import cross_validate
from transfuse_keras.training.hosts import check_job
from transfuse_keras.training.train import run_with_tensorflow, train


def parse_flips(arguments):
    """The --flip argument as `predict` takes it, None if it was not given."""
    return "" if arguments.flip == "none" else arguments.flip


def parse_threshold(arguments):
    """The --threshold argument: None, "auto" or a number between 0 and 1."""
    if arguments.threshold in (None, "auto"):
        return arguments.threshold
    try:
        threshold = float(arguments.threshold)
    except ValueError:
        threshold = -1
    if not 0 <= threshold <= 1:
        raise InputError(f"--threshold {arguments.threshold}: give a number from 0 to 1, or auto.")
    return threshold


def parse_spacing(arguments):
    """(row, column) in mm by --spacing, or None."""
    if arguments.spacing is None:
        return None
    try:
        return check_spacing(
            tuple(arguments.spacing * 2 if len(arguments.spacing) == 1 else arguments.spacing)
        )
    except ValueError as error:
        raise InputError(f"--spacing {error}.") from error


def run_check(arguments):
    task = find_task(arguments.task)
    report = check(task, arguments.data, parse_spacing(arguments))
    for kind, lines in (("ERROR", report.errors), ("warning", report.warnings)):
        for line in lines:
            print(f"{kind}: {line}")
    print("\n".join(["", *report.notes, "", *report.table(task.classes), ""]))
    sheet = Path(arguments.out or f"check-{task.name}.png")
    if write_contact_sheet(sheet, report.splits, task):
        print(f"Contact sheet: {sheet}")
    print(f"{len(report.errors)} errors, {len(report.warnings)} warnings.")
    return 1 if report.errors else 0


def run_train(arguments):
    if arguments.folds is None and (arguments.resume or arguments.source):
        settings = read_run_settings(arguments)
    else:
        settings = parse_settings(arguments)
    if arguments.folds is not None and arguments.fold is None:
        run_folds(arguments, settings)
        return
    out = arguments.out
    longer = arguments.epochs if arguments.resume else None
    if arguments.resume:
        out = find_unfinished(out, settings.task.name)
        if (out / COMPLETE).is_file() and longer in (None, settings.recipe.epochs):
            print(f"{out}: is complete, there is nothing left to do.")
            return
    job = parse_job(arguments)
    kept = arguments.keep_checkpoints
    train(settings, out, arguments.resume, arguments.devices, job, longer, kept)


def parse_job(arguments):
    """(coordinator, number of processes, index of this one) by the options, None without them."""
    job = arguments.coordinator, arguments.processes, arguments.process
    if job == (None, None, None):
        return None
    if None in job:
        raise InputError("--coordinator, --processes and --process go together.")
    if arguments.out is None:
        raise InputError("--coordinator: give a run folder that all hosts see by --out.")
    check_job(*job)
    return job


def parse_settings(arguments):
    """The Settings that the options of `transfuse train` ask for."""
    if arguments.task is None:
        raise InputError("Give --task.")
    task = find_task(arguments.task)
    recipe = task.recipe if arguments.data else task.phantom_recipe or task.recipe
    given = {
        "variant": arguments.variant,
        "image_size": arguments.image_size and tuple(arguments.image_size),
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "accumulate": arguments.accumulate,
        "patience": arguments.patience,
    }
    count = 5 if arguments.folds is None else arguments.folds
    if count < 2:
        raise InputError(f"--folds {count}: give 2 or more.")
    if arguments.fold is not None and not 0 <= arguments.fold < count:
        raise InputError(f"--fold {arguments.fold}: give 0 to {count - 1}.")
    recipe = replace(recipe, **RECIPE_CHANGES[arguments.recipe or "paper"])
    return Settings(
        task,
        arguments.data,
        replace(recipe, **{key: x for key, x in given.items() if x is not None}),
        None if arguments.weights == "none" else arguments.weights,
        arguments.skip_heads,
        arguments.seed or 0,
        arguments.limit,
        parse_spacing(arguments),
        parse_threshold(arguments),
        None if arguments.fold is None else (arguments.fold, count),
        arguments.precision or "float32",
        arguments.jit or "auto",
        arguments.deterministic,
        validation=arguments.val != "none",
    )


def read_run_settings(arguments):
    """The Settings of the run that --resume or --from names: no other option changes them."""
    name = "--resume" if arguments.resume else "--from"
    kept = {"run", "given", "out", "resume", "source", "keep_checkpoints"}
    kept |= {"devices", "coordinator", "processes", "process"}
    if arguments.resume:
        kept |= {"task", "epochs"}
    unset = (None, False)
    others = [
        key
        for key, value in vars(arguments).items()
        if key not in kept and not any(value is x for x in unset)
    ]
    if others:
        option = others[0].replace("_", "-").replace("learning-rate", "lr")
        raise InputError(f"{name} takes all settings from the run; leave out --{option}.")
    if not arguments.resume:
        return read_settings(arguments.source)
    if arguments.task is None and arguments.out is None:
        raise InputError("--resume: give the run folder by --out, or --task for its newest run.")
    name = arguments.task and find_task(arguments.task).name
    return read_settings(find_unfinished(arguments.out, name) / CONFIG)


def run_folds(arguments, settings):
    if arguments.source:
        raise InputError("--from repeats one run; leave out --folds.")
    if arguments.coordinator:
        raise InputError("--coordinator: train one fold at a time, by --fold.")
    if arguments.resume and not arguments.out:
        raise InputError("--resume: give the folder to go on in by --out.")
    name = f"{settings.task.name}-folds"
    folder = Path(arguments.out) if arguments.out else choose_run_folder(None, name)
    plain = {**asdict(settings), "folds": arguments.folds}
    cross_validate(
        lambda run, fold, resume: train(
            replace(settings, fold=fold),
            run,
            resume,
            arguments.devices,
            keep_checkpoints=arguments.keep_checkpoints,
        ),
        plain,
        folder,
        arguments.folds,
        arguments.resume,
    )
    print(f"Done: {folder}/report.html")


def on_tensorflow(command):
    """A command that needs TensorFlow: with another backend it runs in a process that has it."""

    def run(arguments):
        if backend() == "tensorflow":
            return command(arguments)
        return run_with_tensorflow(arguments.given)

    return run


@on_tensorflow
def print_rows(arguments):
    print("\n".join(list_rows(arguments.variant or "S", arguments.table or list(TABLES))))


def run_ablate(arguments):
    numbers = arguments.table or list(TABLES)
    if arguments.list:
        return print_rows(arguments)
    if arguments.seeds < 1:
        raise InputError(f"--seeds {arguments.seeds}: give 1 or more.")
    if arguments.resume and not arguments.out:
        raise InputError("--resume: give the folder to go on in by --out.")
    settings = parse_settings(arguments)
    name = f"ablation-{settings.task.name}"
    folder = Path(arguments.out) if arguments.out else choose_run_folder(None, name)
    ablate(settings, numbers, folder, arguments.seeds, arguments.rows, arguments.resume)
    for number in numbers:
        path = folder / f"table-{number}.md"
        print(f"{path.read_text()}\nDone: {path}")


def run_evaluate(arguments):
    folder = evaluate_model(
        Path(arguments.model),
        arguments.data,
        out=arguments.out,
        task=find_task(arguments.task) if arguments.task else None,
        threshold=parse_threshold(arguments),
        flips=parse_flips(arguments),
        spacing=parse_spacing(arguments),
        precision=arguments.precision,
        jit=arguments.jit,
    )
    print(f"Done: {folder}/report.html")


def run_predict(arguments):
    if arguments.threshold == "auto":
        raise InputError("--threshold auto: transfuse evaluate chooses, then predict follows it.")
    failed = predict_files(
        Path(arguments.model),
        arguments.input,
        Path(arguments.out),
        threshold=parse_threshold(arguments),
        flips=parse_flips(arguments),
        tile=arguments.tile,
        overlays=not arguments.no_overlays,
        task=find_task(arguments.task) if arguments.task else None,
        precision=arguments.precision,
        jit=arguments.jit,
    )
    return 1 if failed else 0


def run_compare(arguments):
    rows = compare(Path(arguments.first), Path(arguments.second))
    print("\n".join(format_comparison(rows)))


def run_report(arguments):
    write_report(Path(arguments.folder))
    print(f"Done: {arguments.folder}/report.html")


@on_tensorflow
def run_export(arguments):
    quantize = arguments.quantize or ["none"]
    export_model(arguments.model, arguments.format, quantize, arguments.out, arguments.data)


@on_tensorflow
def run_benchmark(arguments):
    result = benchmark(
        Path(arguments.model), arguments.image_size, arguments.threads, arguments.rounds
    )
    print("\n".join(["", *format_benchmark(result)]))
