"""The model card of a run: README.md with the head that the Hugging Face hub reads."""

import json
import shutil
from pathlib import Path

import jinja2

from transfuse_keras.errors import SCORE_AGAIN, InputError, blaming
from transfuse_keras.evaluation.case_table import label_failures, summarize_classes
from transfuse_keras.evaluation.cases import choose_headline
from transfuse_keras.evaluation.facts import count_split, facts, name_model, name_sample
from transfuse_keras.evaluation.failures import RULE
from transfuse_keras.evaluation.figures import label, spoken
from transfuse_keras.evaluation.report_files import read_case_rows, read_metrics
from transfuse_keras.evaluation.score_tables import format_score, shown_metrics, subgroup_rows
from transfuse_keras.evaluation.subgroups import find_worst
from transfuse_keras.files import read_json
from transfuse_keras.runs.folder import (
    COMPLETE,
    SPLIT,
    read_config,
    read_split,
    run_task,
    run_thresholds,
)
from transfuse_keras.runs.sessions import read_sessions
from transfuse_keras.weights.published import PUBLISHED

PHANTOM_LICENCE = "apache-2.0"  # of weights for which no data set was used
RANKS = ("best", "median", "worst")  # cases that are shown
# facts that name folders of the one who trained, or that the card tells elsewhere
PRIVATE_FACTS = ("Command", "Scored on", "Prediction")
RUNNABLE = ("model.tflite", "model.xml", "model.onnx")  # in the order of `choose_file`
CODE = """\
import transfuse_keras as tk
from PIL import Image
from transfuse_keras.inference.masks import to_masks

model = tk.TransFuse.from_preset("hf://{repo}")
masks = to_masks(tk.predict(model, Image.open("image.png"){predict}), {masks})"""


def write_card(
    run, folder, repo=None, licence=None, pictures=False, exports=None, data=None, command=None
):
    """Write README.md of a run, and its pictures.

    Args:
        run: Path of the folder of a run that was scored.
        folder: Path to write to.
        repo: "user/name" on the hub, which the card names; None for a card that stands beside
            exported files alone.
        licence: of the weights, as the hub spells it; may be None for a run on phantoms.
        pictures: show the best, the median and the worst case; of phantoms they always are.
        exports: file name -> what `verify` gave, of the exported files beside the card.
        data: what to say of the data, Markdown; by default the name of its folder.
        command: that gives this very model, of any reader.

    Raises: InputError if the run was not scored or one of its files is damaged, or if the licence
    is not given.
    """
    from huggingface_hub import ModelCard

    metrics, config, task = read_metrics(run / COMPLETE), read_config(run), run_task(run)
    phantom = config["data"] == "phantom"
    if licence is None and not phantom:
        raise InputError(
            "The licence of the weights follows that of the data, which the run does not know: "
            "give it as the hub spells it, such as --license cc-by-sa-4.0."
        )
    licence, exports = licence or PHANTOM_LICENCE, exports or {}
    rows = label_failures(read_case_rows(run / "cases.csv", shown_metrics(metrics)))
    split = read_split(run) if (run / SPLIT).is_file() else []
    known = facts(metrics, config, read_sessions(run), split)
    columns, groups = subgroup_rows(metrics)
    name = "phantoms, drawn by a program" if phantom else Path(config["data"]).name
    base = find_base(config)
    text = load_card_template().render(
        card_data=head(metrics, repo, licence, name, base).to_yaml(),
        **{"model": name_model(metrics["variant"]), "task": task.name},
        classes=[spoken(name) for name in task.classes],
        **{"phantom": phantom, "data": data or name, "licence": licence, "rule": RULE},
        **{"repo": repo, "command": command},
        **{key: metrics.get(key) for key in ("n", "protocol", "trained_on")},
        groups=name_groups(metrics),
        code=write_code(task, run_thresholds(run, task.classes), repo) if repo else "",
        **{"exports": exports, "file": choose_runnable(exports)},
        facts={name: text for name, text in known.items() if name not in PRIVATE_FACTS},
        licences=[f"{name} ({PUBLISHED[name].licence})" for name in base if name in PUBLISHED],
        lines=summarize_classes(metrics, rows),
        **{"subgroup_columns": columns, "subgroups": groups},
        lowest=find_worst(metrics.get("subgroups")),
        **{"failed": sum(bool(row["failure"]) for row in rows), "pairs": len(rows)},
        trained=count_split(split),
        sample=name_sample(config),
        pictures=copy_pictures(run, folder) if pictures or phantom else [],
    )
    (folder / "README.md").write_text(str(ModelCard(text)), encoding="utf-8")


def name_groups(metrics):
    """ "12 patients" of the scored cases; "" where each case counts as its own patient."""
    groups = metrics.get("groups")
    return f"{groups} patients" if groups and groups < metrics["n"] else ""


def load_card_template():
    loader = jinja2.PackageLoader("transfuse_keras.publishing", ".")
    jinja = jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True)
    jinja.filters["label"] = label
    jinja.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return jinja.get_template("card.md")


def choose_runnable(exports):
    """Of exported files the one that a reader should run, None if there is none."""
    return next((name for name in (*RUNNABLE, *exports) if name in exports), None)


def find_base(config):
    """Names of the published weights that a run started from."""
    return list(config.get("downloads") or {})


def head(metrics, repo, licence, data, base):
    """The ModelCardData of a run: what the hub shows and finds a model by."""
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    for name, of in [*metrics["classes"].items(), ("mean of the classes", metrics["mean"])]:
        for metric in choose_headline(metrics["mean"]):
            if of.get(metric) is not None:
                results.append(
                    EvalResult(
                        task_type="image-segmentation",
                        dataset_type=metrics["task"],
                        dataset_name=data,
                        dataset_split="test",
                        metric_type=metric,
                        metric_name=f"{label(metric)} ({spoken(name)})",
                        metric_value=round(of[metric], 4),
                    )
                )
    return ModelCardData(
        license=licence,
        library_name="keras",
        pipeline_tag="image-segmentation",
        tags=["transfuse", "medical", metrics["task"]],
        base_model=[f"timm/{name}" for name in base] or None,
        model_name=(repo or metrics["task"]).rpartition("/")[2],
        eval_results=results,
    )


def write_code(task, thresholds, repo):
    """Python code that gives the masks of an image; "" for tasks whose images need more: volumes,
    and grey levels that are read by a range of the task."""
    if task.field is not None or task.value_range or task.dicom_range:
        return ""
    predict = f", flips={json.dumps(task.flips)}" if task.flips else ""
    if "h" in task.flips and task.mirror_pairs:
        predict += f", mirrored_classes={list(task.mirrored_classes)}"
    masks = f"{tuple(thresholds)}" + ", exclusive=True" * task.exclusive
    masks += f", sure={task.sure_maps}" if task.sure else ""
    return CODE.format(repo=repo, predict=predict, masks=masks)


def copy_pictures(run, folder):
    """Copy the overlays of the best, the median and the worst case.

    Returns: list of (file name, rank, Dice), without the names of the cases.
    """
    index, found = run / "overlays" / "index.json", {}
    entries = read_json(index) or []
    with blaming(index, "damaged", SCORE_AGAIN):
        for entry in entries:
            found.setdefault(entry["rank"], entry)
        (folder / "pictures").mkdir()
        for rank in [rank for rank in RANKS if rank in found]:
            shutil.copyfile(run / "overlays" / found[rank]["file"], folder / f"pictures/{rank}.png")
    return [
        (f"{rank}.png", rank, format_score(found[rank]["score"])) for rank in RANKS if rank in found
    ]
