"""The paper's Tables 5 and 6: their rows trained with one recipe, the scores beside the paper's."""

import logging
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np

from transfuse_keras.errors import InputError, quantity
from transfuse_keras.evaluation.compare import read_case_table, select_values
from transfuse_keras.evaluation.statistics import spell_interval, summarize_scores
from transfuse_keras.files import format_table, replacing
from transfuse_keras.model.flops import count_flops
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.model.variants import ABLATIONS, resolve_variant
from transfuse_keras.runs.folder import COMPLETE, CONFIG
from transfuse_keras.runs.settings import ABLATION_FILE, read_settings
from transfuse_keras.training.paper_tables import TABLES
from transfuse_keras.training.series import begin_series, train_series
from transfuse_keras.training.train import train_task

log = logging.getLogger(__name__)


def same_model(row):
    """The first key of ABLATIONS that is the same model as `row`: F.1 is E.5, F.4 is E.6."""
    spec = resolve_variant(f"S:{row}")
    return next(name for name in ABLATIONS if resolve_variant(f"S:{name}") == spec)


@cache
def measure_size(variant, row, input_shape):
    """(trainable parameters with one class, floating-point operations of an image) of a row.

    Raises: InputError for an unknown variant.
    """
    try:
        model = TransFuse(f"{variant}:{row}", input_shape)
    except ValueError as error:
        raise InputError(str(error)) from error
    count = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    return count, count_flops(model.mask_model)


def list_rows(variant="S", numbers=tuple(TABLES), input_shape=(192, 256, 3)):
    """Lines of a markdown table of the rows, with parameters, GFLOP and the paper's figures."""
    for number in numbers:
        table = TABLES[number]
        heads = ["row", table.title, "parameters", "GFLOP", *(f"paper: {x}" for x in table.columns)]
        rows = []
        for row, (what, figures) in table.rows.items():
            count, flops = measure_size(variant, same_model(row), input_shape)
            size = [f"{count:,}", f"{flops / 1e9:.1f}"]
            rows.append([row, what, *size, *(f"{figure:.3f}" for figure in figures)])
        yield from ("", *format_table(heads, rows, left=2, markdown=True))


def ablate(settings, numbers, folder, seeds=2, rows=None, resume=False):
    """Train rows of the paper's tables with one recipe and write the tables.

    Rows that are the same model are trained once; every training is a run folder
    `<row>-seed<N>` of its own, and what is complete is kept.

    Args:
        settings: Settings; its recipe's variant is what the rows change.
        numbers: keys of TABLES.
        folder: Path; gets the run folders and table-5.md, table-6.md after every training.
        seeds: number of trainings of each row, with seeds 0, 1, ...
        rows: keys of ABLATIONS; by default all of the tables. What is not trained is a dash.
        resume: go on in `folder`.

    Raises: InputError if the data or the folder cannot be used, as `train_task`.
    """
    settings.check()
    wanted = [row for number in numbers for row in TABLES[number].rows if not rows or row in rows]
    if not wanted:
        raise InputError(f"--rows {' '.join(rows)}: not in Table {numbers[0]}.")
    wanted = list(dict.fromkeys(map(same_model, wanted)))
    trainings = {
        run_folder(folder, row, seed): (row, seed) for seed in range(seeds) for row in wanted
    }
    missing = [row for run, (row, _) in trainings.items() if not (run / COMPLETE).is_file()]
    begin_series(folder, ABLATION_FILE, asdict(settings), resume)
    log.info(f"{len(missing)} of {len(trainings)} trainings are to be done.")

    def train_row(run, begun):
        row, seed = trainings[run]
        asked = replace(row_settings(settings, row), seed=seed)
        train_task(read_settings(run / CONFIG) if begun else asked, run, begun)
        write_paper_tables(folder, settings, seeds)

    count = len(trainings)
    titles = [
        f"Training {number} of {count}: {row}, seed {seed}"
        for number, (row, seed) in enumerate(trainings.values(), 1)
    ]
    train_series(folder, dict(zip(trainings, titles, strict=True)), train_row)
    write_paper_tables(folder, settings, seeds)


def run_folder(folder, row, seed):
    return folder / f"{same_model(row)}-seed{seed}"


def row_settings(settings, row):
    recipe = settings.recipe
    return replace(settings, recipe=replace(recipe, variant=f"{recipe.variant}:{row}"))


def write_paper_tables(folder, settings, seeds):
    """Write a file for each table with the rows that are trained so far."""
    for number, table in TABLES.items():
        text = "\n".join(format_paper_table(table, folder, settings, seeds)) + "\n"
        with replacing(folder / f"table-{number}.md") as temporary:
            temporary.write_text(text, encoding="utf-8")


def format_paper_table(table, folder, settings, seeds):
    """Lines of a table of the paper with our scores.

    A score is the mean over test cases of the mean over seeds, with the bootstrap 95 % interval
    over the patients; behind it the mean of every seed.
    """
    recipe = settings.recipe
    shape = (*recipe.image_size, settings.task.inputs)
    scores = {row: read_scores(folder, row, seeds, table.metrics) for row in table.rows}
    columns = list(dict.fromkeys(column for found in scores.values() for column in found))
    columns = columns or list(table.metrics)
    heads = ["row", table.title, "parameters", *columns, *(f"paper: {x}" for x in table.columns)]
    rows = []
    for row, (what, figures) in table.rows.items():
        count, _ = measure_size(recipe.variant, same_model(row), shape)
        cells = [scores[row].get(column, "-") for column in columns]
        rows.append([row, what, f"{count:,}", *cells, *(f"{figure:.3f}" for figure in figures)])
    height, width = recipe.image_size
    start = "from random weights" if settings.weights is None else f"from {settings.weights}"
    data = Path(settings.data).name if settings.data else "phantoms"
    limit = f", at most {settings.limit} training samples" if settings.limit else ""
    threshold = 0.5 if settings.threshold is None else settings.threshold
    at = "thresholds of validation" if threshold == "auto" else f"threshold {threshold:g}"
    return [
        *format_table(heads, rows, left=2, markdown=True),
        "",
        f"Here: {recipe.variant} at {height}x{width}, {quantity(recipe.epochs, 'epoch')} {start} "
        f"in batches of {recipe.batch_size}, learning rate {recipe.learning_rate:g}, {at}, "
        f"the {settings.task.name} task on {data}{limit}. A score is the mean of the test cases, "
        "each the mean of its seeds, with a bootstrap 95 % interval over the patients; in brackets "
        "every seed. A dash was not trained.",
        f"The paper: {table.setting}.",
    ]


def read_scores(folder, row, seeds, metrics):
    """{"metric" or "metric, test set": "mean [low, high] (every seed)"} of the complete runs."""
    runs = [run_folder(folder, row, seed) for seed in range(seeds)]
    tables = [read_case_table(run) for run in runs if (run / COMPLETE).is_file()]
    if not tables:
        return {}
    sets = {}
    for case in tables[0]["cases"]:
        sets.setdefault(case.rpartition("/")[0], []).append(case)
    cells = {}
    for metric in metrics:
        for name, cases in sets.items():
            if metric in tables[0]["metrics"]:
                column = metric if len(sets) == 1 else f"{metric}, {name}"
                values = [select_values(table, cases, table["classes"], metric) for table in tables]
                groups = [tables[0]["groups"].get(case, case) for case in cases]
                cells[column] = describe_seeds(values, groups)
    return cells


def describe_seeds(values, groups):
    figures = summarize_scores(np.mean(values, axis=0), groups)
    each = ", ".join(f"{summarize_scores(x)['mean']:.3f}" for x in values)
    return f"{figures['mean']:.3f}{spell_interval(figures, '.3f')} ({each})"
