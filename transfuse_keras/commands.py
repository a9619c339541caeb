"""What the commands of cli.py do with their arguments."""

from dataclasses import asdict, replace
from pathlib import Path

from transfuse_keras.benchmark import benchmark
from transfuse_keras.benchmark_table import format_benchmark
from transfuse_keras.compare import compare, format_comparison
from transfuse_keras.contact_sheet import write_contact_sheet
from transfuse_keras.cross_validation import cross_validate
from transfuse_keras.data.check import check
from transfuse_keras.data.layouts.listing import check_spacing
from transfuse_keras.errors import InputError
from transfuse_keras.evaluate_run import evaluate_run
from transfuse_keras.export_run import export_run
from transfuse_keras.predict_files import predict_files
from transfuse_keras.report import write_report
from transfuse_keras.tasks import find_task
from transfuse_keras.training import choose_folder, train


def flips_of(arguments):
    """The --flip argument as `predict` takes it, None if it was not given."""
    return "" if arguments.flip == "none" else arguments.flip


def threshold_of(arguments):
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


def spacing_of(arguments):
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
    report = check(task, arguments.data, spacing_of(arguments))
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
    task = find_task(arguments.task)
    recipe = task.recipe if arguments.data else task.phantom_recipe or task.recipe
    given = {
        "variant": arguments.variant,
        "image_size": arguments.image_size and tuple(arguments.image_size),
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
    }
    settings = {
        "recipe": replace(recipe, **{key: x for key, x in given.items() if x is not None}),
        "weights": None if arguments.weights == "none" else arguments.weights,
        "skip_heads": arguments.skip_heads,
        "seed": arguments.seed,
        "limit": arguments.limit,
        "spacing": spacing_of(arguments),
        "threshold": threshold_of(arguments),
    }
    count = 5 if arguments.folds is None else arguments.folds
    if count < 2:
        raise InputError(f"--folds {count}: give 2 or more.")
    if arguments.fold is not None:
        if not 0 <= arguments.fold < count:
            raise InputError(f"--fold {arguments.fold}: give 0 to {count - 1}.")
        settings["fold"] = arguments.fold, count
    elif arguments.folds is not None:
        run_folds(task, arguments, settings)
        return
    if arguments.resume:
        raise InputError("--resume goes with --folds.")
    run = train(task, arguments.data, out=arguments.out, **settings)
    print(f"Done: {run}/report.html, {run}/model.keras, {run}/model.tflite")


def run_folds(task, arguments, settings):
    if arguments.resume and not arguments.out:
        raise InputError("--resume: give the folder to go on in by --out.")
    folder = Path(arguments.out) if arguments.out else choose_folder(None, f"{task.name}-folds")
    plain = {**settings, "recipe": asdict(settings["recipe"])}
    plain |= {"task": asdict(task), "data": arguments.data, "folds": arguments.folds}
    cross_validate(
        lambda run, fold: train(task, arguments.data, out=run, fold=fold, **settings),
        plain,
        folder,
        arguments.folds,
        arguments.resume,
    )
    print(f"Done: {folder}/report.html")


def run_evaluate(arguments):
    folder = evaluate_run(
        Path(arguments.model),
        arguments.data,
        out=arguments.out,
        task=find_task(arguments.task) if arguments.task else None,
        threshold=threshold_of(arguments),
        flips=flips_of(arguments),
        spacing=spacing_of(arguments),
    )
    print(f"Done: {folder}/report.html")


def run_predict(arguments):
    if arguments.threshold == "auto":
        raise InputError("--threshold auto: transfuse evaluate chooses, then predict follows it.")
    failed = predict_files(
        Path(arguments.model),
        arguments.input,
        Path(arguments.out),
        threshold=threshold_of(arguments),
        flips=flips_of(arguments),
        tile=arguments.tile,
        overlays=not arguments.no_overlays,
        task=find_task(arguments.task) if arguments.task else None,
    )
    return 1 if failed else 0


def run_compare(arguments):
    rows = compare(Path(arguments.first), Path(arguments.second))
    print("\n".join(format_comparison(rows)))


def run_report(arguments):
    write_report(Path(arguments.folder))
    print(f"Done: {arguments.folder}/report.html")


def run_export(arguments):
    quantize = arguments.quantize or ["none"]
    export_run(arguments.model, arguments.format, quantize, arguments.out, arguments.data)


def run_benchmark(arguments):
    result = benchmark(
        Path(arguments.model), arguments.image_size, arguments.threads, arguments.rounds
    )
    print("\n".join(["", *format_benchmark(result)]))
