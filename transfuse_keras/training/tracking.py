"""Trackers of experiments: Weights & Biases and MLflow are told what history.csv is told.

Their own callbacks for Keras are not used: that of Weights & Biases imports TensorFlow whatever the
backend, and that of MLflow tells each validation score a second time, as if of no epoch.
"""

import logging
import os
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

from transfuse_keras.errors import InputError
from transfuse_keras.files import read_json, write_json
from transfuse_keras.runs.folder import COMPLETE
from transfuse_keras.runs.settings import plain_settings

log = logging.getLogger(__name__)

TRACKING = "tracking.json"  # tracker -> what it calls the run
MLFLOW_CHOOSES = {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"}
TOLD = ("data", "weights", "seed", "precision")  # to MLflow, beside the recipe


def find_trackers(asked, runs=()):
    """Names of the trackers that are asked for, and of those that runs were begun with.

    Args:
        asked: keys of TRACKERS.
        runs: Paths of run folders.

    Raises: InputError if the library of one is not installed.
    """
    files = {run / TRACKING: read_json(run / TRACKING) or {} for run in runs}
    begun = {name: file for file, ids in files.items() for name in ids}
    for name in (names := [*dict.fromkeys([*asked, *begun])]):
        if not is_installed(name):
            without = f", or remove {begun[name]} to go on without" if name in begun else ""
            raise InputError(
                f"--track {name}: {name} is not installed; install it: "
                f"pip install 'transfuse-keras[{name}]'{without}."
            )
    return names


def is_installed(name):
    """Whether a library can be imported; a folder ./wandb, which its runs leave, is none."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


class Trackers:
    """The trackers of a run, a context manager: within it they know that the run goes on.

    A tracker that is new to the run is told the epochs before; else its own run goes on. One that
    fails is warned of and left out from then on: no training ends by it.

    Args:
        run: Path of the run folder; `tracking.json` in it keeps what they call the run.
        asked: keys of TRACKERS, beside those that the run was begun with.
    """

    def __init__(self, run, asked):
        self.run, self.names = run, find_trackers(asked, [run])
        self.told, self.opened = {}, ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        try:
            self.opened.__exit__(*error)
        except Exception as failed:
            log.warning(f"A tracker was not told the end of the run: {failed}")

    def begin(self, settings, rows=()):
        """Open the trackers, the first time that it is called.

        Args:
            settings: Settings, which the trackers keep with the run.
            rows: of the history before.

        Raises: InputError if a tracker cannot be reached.
        """
        ids = read_json(self.run / TRACKING) or {}
        names, self.names = self.names, []
        for name in names:
            opening = TRACKERS[name](self.run, settings, ids.get(name))
            try:
                own, self.told[name] = self.opened.enter_context(opening)
            except Exception as error:
                reason = str(error).strip().rstrip(".")
                raise InputError(
                    f"--track {name}: {reason}; then repeat the command with --resume --out "
                    f"{self.run}."
                ) from error
            for row in () if name in ids else rows:
                numbers = {key: float(value) for key, value in row.items()}
                self.told[name](int(numbers.pop("epoch")), numbers)
            ids[name] = own
        if names:
            write_json(self.run / TRACKING, ids)

    def tell(self, epoch, numbers):
        """Tell {name: number} of an epoch, from 1; of the whole run where `epoch` is None."""
        for name in list(self.told):
            try:
                self.told[name](epoch, {key: float(value) for key, value in numbers.items()})
            except Exception as error:  # of its network, mostly
                log.warning(f"{name} does not answer and is left out from here: {error}")
                del self.told[name]

    def tell_scores(self, settings):
        """Tell the mean test scores of the complete run."""
        mean = read_json(self.run / COMPLETE)["mean"]
        try:
            self.begin(settings)  # in the process that only scores
        except InputError as error:
            log.warning(f"The test scores are in {self.run / COMPLETE} alone: {error}")
        self.tell(None, {f"test_{name}": x for name, x in mean.items() if x is not None})


@contextmanager
def open_wandb(run, settings, own):
    """What Weights & Biases calls a run, and a function that tells it, see `Trackers.tell`."""
    import wandb

    with wandb.init(
        project=os.environ.get("WANDB_PROJECT", settings.task.name),
        name=str(run),
        dir=str(run),
        id=own,
        resume=own and "allow",
        config=plain_settings(settings),
        settings=wandb.Settings(silent=True, console="off"),
    ) as opened:
        opened.define_metric("*", step_metric="epoch")
        later = f"offline; to send it: wandb sync {os.path.dirname(opened.dir)}"
        log.info(f"Weights & Biases: {later if opened.offline else opened.url}")

        def send(epoch, numbers):
            if epoch is None:
                opened.summary.update(numbers)
            else:
                opened.log({"epoch": epoch, **numbers})

        yield opened.id, send


@contextmanager
def open_mlflow(run, settings, own):
    """The same of MLflow."""
    import mlflow

    place = {}
    if own is None:
        place["run_name"] = str(run)
        if not MLFLOW_CHOOSES & os.environ.keys():
            experiment = mlflow.get_experiment_by_name(name := settings.task.name)
            there = experiment.experiment_id if experiment else mlflow.create_experiment(name)
            place["experiment_id"] = there
    with mlflow.start_run(own, **place) as opened:
        plain = plain_settings(settings)
        mlflow.log_dict(plain, "config.json")
        if own is None:
            mlflow.log_params({**plain["recipe"], **{name: plain[name] for name in TOLD}})
        log.info(f"MLflow: run {opened.info.run_id}")

        def send(epoch, numbers):
            mlflow.log_metrics(numbers, step=epoch)

        yield opened.info.run_id, send


TRACKERS = {"wandb": open_wandb, "mlflow": open_mlflow}
