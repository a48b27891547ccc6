"""An experiment: what a resolved config describes, built and checked before anything is compiled."""

import dataclasses
import functools
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from etils import epath
from flax.core import FrozenDict
from ml_collections import ConfigDict

import archs
from train import config as configs
from train import objectives, optimizer, plugins, workdir
from train.checkpoint import CheckpointOptions
from train.config import FROM_DATA, OPTIONAL, arguments
from train.data import Data, views
from train.errors import UserError
from train.fields import allows, fields_of
from train.mesh import MeshShape
from train.modules import PROJECT
from train.step import Recipe, abstract_state, train_step

TOKENIZER = "tokenizer.json"  # In the folder of a run whose data are texts.
BATCH = "batch.json"  # In the folder of every run: what `described` says.


@dataclasses.dataclass(frozen=True)
class Run:
    """The fields of a config that stand in no section.

    Attributes:
        steps: updates in the run.
        seed: of parameters, shuffling, augmentation and dropout.
        log_every: updates between two lines of the log, which holds their mean metrics.
        matmul_precision: of float32 matrix products; "highest" is full float32 on every device.
        writers: where numbers go besides the console and `metrics.jsonl`.
        init_from: a Hugging Face folder (config.json and safetensors) whose weights the run starts from.
        init_head: whether the head is read from that folder too ("load"), or starts at random ("new").
    """

    steps: int
    seed: int = 0
    log_every: int = 50
    matmul_precision: Literal["default", "high", "highest"] = "highest"
    writers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    init_from: str | None = None
    init_head: Literal["load", "new"] = "load"

    def __post_init__(self) -> None:
        for field, least in (("steps", 1), ("seed", 0), ("log_every", 1)):
            if not least <= getattr(self, field) < 2**31:
                raise UserError(f"config.{field}: {getattr(self, field)} is out of range, from {least} to 2^31 - 1.")
        if self.init_head == "new" and self.init_from is None:
            raise UserError("config.init_head: 'new' would do nothing without config.init_from; all weights are new.")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts of a run. Of two runs that differ in the seed only, the recipes are equal.

    Attributes:
        config: the resolved config.
        run: length, seed and the like.
        recipe: model, objective and optimizer.
        data: the data pipeline.
        view: how images become the model's input.
        mesh_shape: how devices are arranged.
        checkpoint: when states are saved and which are kept.
        evaluators: what is measured, by name.
        recorded: what `described` said when the run began, for one that is built without its data.
    """

    config: ConfigDict
    run: Run
    recipe: Recipe
    data: Data
    view: str | None
    mesh_shape: MeshShape
    checkpoint: CheckpointOptions
    evaluators: dict[str, Any]
    recorded: Mapping[str, Any] | None = None

    @property
    def model(self) -> Any:
        return self.recipe.model

    @property
    def objective(self) -> Any:
        return self.recipe.objective

    @functools.cached_property
    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of a training batch, by name."""
        if self.recorded is None:
            return self.data.spec(self.view)
        return {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in self.recorded["batch"].items()}

    def model_inputs(self, batch: objectives.Batch) -> dict[str, Any]:
        """The entries of a batch that the model reads."""
        return objectives.model_inputs(self.model, batch)


def build(
    config: ConfigDict, tokenizer_file: epath.Path | None = None, recorded: Mapping[str, Any] | None = None
) -> Experiment:
    """Builds and checks the parts that a resolved config describes; compiles and allocates nothing.

    Args:
        config: the resolved config.
        tokenizer_file: the tokenizer of a run that has begun; None trains one, if the data need one.
        recorded: what `described` said of a run that has begun; the data are then left alone, and nothing is checked
            against them.
    Raises:
        UserError: a part refuses its fields, or the parts do not fit each other.
    """
    run = Run(**{field.name: config[field.name] for field in dataclasses.fields(Run)})
    data = _build_data(config.data, tokenizer_file)
    objective = _plugin("train.objectives", "Objective", "objective", config.objective)
    decided = _decided_by_data(config.model, data, objective) if recorded is None else recorded["model"]
    fields = {**arguments(config.model, without=()), **decided}
    model = _explained("config.model", lambda: archs.build(**fields))
    recipe = Recipe(
        model=model,
        objective=objective,
        optimizer=optimizer.build(arguments(config.optimizer, without=())),
        steps=run.steps,
    )
    experiment = Experiment(
        config=config,
        run=run,
        recipe=recipe,
        data=data,
        view=data.view or getattr(model, "view", None),
        mesh_shape=MeshShape(**arguments(config.mesh)),
        checkpoint=CheckpointOptions(**arguments(config.checkpoint)),
        evaluators=_plugins("train.evaluators", "Evaluator", config.evaluators, "evaluators"),
        recorded=recorded,
    )
    if recorded is None:
        _check_fit(experiment)
    return experiment


def described(experiment: Experiment) -> dict[str, Any]:
    """What the data say of a run: shapes and types of a batch, and fields of the model that they may decide."""
    model = experiment.model
    return {
        "batch": {name: [list(leaf.shape), leaf.dtype.name] for name, leaf in experiment.spec.items()},
        "model": {name: getattr(model, name) for name in FROM_DATA if hasattr(model, name)},
    }


def of_run(folder: epath.Path, overrides: Sequence[str], *, with_data: bool = True) -> Experiment:
    """The experiment of a run; `overrides` may say where it is read and what is measured of it, not what was trained.

    Args:
        folder: of the run.
        overrides: `section.field=value` strings.
        with_data: whether its data are there; if not, the folder alone says what the model is.
    Raises:
        UserError: there is no run, or an override would change what was trained.
    """
    file = folder / "config.json"
    if not file.exists():
        raise UserError(f"{folder} holds no run: there is no config.json.")
    trained = workdir.read_json(file)
    config = configs.from_json(trained, overrides)
    # Completed, so that a field which is younger than the run has its default in both.
    before = configs.to_json(configs.from_json(trained))
    if changed := configs.differences(before, configs.to_json(config)):
        raise UserError(f"what was trained must not be changed: {'; '.join(changed)}")
    if with_data:
        return build(config, saved_tokenizer(folder))
    if not (folder / BATCH).exists():
        raise UserError(f"{folder} has no {BATCH}, which training writes when it begins; start the run again.")
    return build(config, saved_tokenizer(folder), workdir.read_json(folder / BATCH))


def saved_tokenizer(folder: epath.Path) -> epath.Path | None:
    """The tokenizer of the run in `folder`, if it has one; without a config there is no run yet.

    Raises:
        UserError: it had one, and lost it: another, trained on what the data are now, would be another language.
    """
    file, config = folder / TOKENIZER, folder / "config.json"
    if not config.exists():
        return None
    if file.exists():
        return file
    if workdir.read_json(config)["data"].get("tokenizer", {}).get("name"):
        raise UserError(f"{folder} has no {TOKENIZER}, which training writes when it begins.")
    return None


def _decided_by_data(section: ConfigDict, data: Data, objective: Any) -> dict[str, int]:
    """Values of the model's fields that the config leaves to the data.

    Raises:
        UserError: the model needs one, and the data do not say it.
    """
    given = fields_of(archs.model_class(section.name))
    # A vocabulary that a model may do without (it reads vectors then) is decided where there are texts.
    sure = {key for key in FROM_DATA if data.tokenizer is not None and key != "num_classes"}
    wanted = [key for key in FROM_DATA if key in given and (given[key].is_required or key in sure)]
    is_open = [key for key in wanted if section[key] is None]
    if not getattr(objective, "reads_classes", False):
        is_open = [key for key in is_open if key != "num_classes"]  # None gives features
    sizes = data.sizes() if is_open else {}
    for key in is_open:
        if key not in sizes and not allows(given[key].type, None):
            raise UserError(f"config.model.{key} is required: the data do not say it; set --config.model.{key}=...")
    return {key: sizes[key] for key in is_open if key in sizes}


def _build_data(section: ConfigDict, tokenizer_file: epath.Path | None) -> Data:
    source = _plugin("train.data.sources", "Source", "data.source", section.source)
    augmentation = _plugins("train.data.augmentations", "Augmentation", section.augmentation, "data.augmentation")
    named = {path.rpartition(".")[2]: (path, *where) for path, *where in OPTIONAL}
    optional = {
        key: _plugin(package, attribute, path, section[key])
        for key, (path, package, attribute) in named.items()
        if section[key].name is not None
    }
    return Data(
        source=source,
        augmentation=FrozenDict(augmentation),
        **optional,
        **arguments(section, without=("source", "augmentation", *named)),
        tokenizer_file=tokenizer_file,
    )


def _plugin(package: str, attribute: str, path: str, section: ConfigDict) -> Any:
    target = plugins.load(package, section.name, attribute, field=f"config.{path}.name")
    return _explained(f"config.{path}", lambda: target(**arguments(section)))


def _plugins(package: str, attribute: str, section: ConfigDict, path: str) -> dict[str, Any]:
    targets = {name: plugins.load(package, name, attribute, field=f"config.{path}.{name}") for name in section}
    return {name: targets[name](**arguments(section[name], without=())) for name in section}


def _check_fit(experiment: Experiment) -> None:
    """Refuses parts that do not fit, on shapes alone."""
    model, spec, name = experiment.model, experiment.spec, experiment.config.model.name
    source = experiment.config.data.source.name
    for key, required in objectives.input_names(model).items():
        if required and key not in spec:
            raise UserError(f"config.model: {name} reads {key!r}, but the data ({source}) give {', '.join(spec)}.")
    for key in experiment.objective.reads:
        if key not in spec:
            objective = experiment.config.objective.name
            raise UserError(
                f"config.objective: {objective} reads {key!r}, but the data ({source}) give {', '.join(spec)}."
            )
    _check_changes(experiment)
    _check_classes(experiment)
    _explained("config.optimizer", lambda: experiment.recipe.transformation)
    parts = experiment.recipe.optimizer.accumulate_steps
    if experiment.data.batch_size % parts:
        raise UserError(
            f"config.data.batch_size: {experiment.data.batch_size} is not divisible by {parts} "
            "(config.optimizer.accumulate_steps)."
        )
    if parts > 1 and getattr(experiment.objective, "compares_rows", False):
        raise UserError(
            f"config.optimizer.accumulate_steps: {experiment.config.objective.name} compares the rows of a batch, "
            "which must stay whole; set it to 1."
        )
    shapes = ", ".join(f"{key} {list(leaf.shape)}" for key, leaf in experiment.model_inputs(spec).items())
    with jax.sharding.use_abstract_mesh(experiment.mesh_shape.abstract()):  # which a mixer may depend on
        state = _explained(
            f"config.model: {name} cannot read {shapes}", lambda: abstract_state(experiment.recipe, spec)
        )
        _explained(
            f"config.objective: {experiment.config.objective.name} cannot judge {name}",
            lambda: jax.eval_shape(functools.partial(train_step, experiment.recipe), state, spec),
        )
    for evaluator_name, evaluator in experiment.evaluators.items():
        evaluator.check(f"config.evaluators.{evaluator_name}", experiment)
    experiment.checkpoint.check(experiment)


def _check_changes(experiment: Experiment) -> None:
    """Refuses what would do nothing: changes of images or sound where there are none, marks that nobody reads."""
    data = experiment.data
    given = data.split("train")[np.zeros(1, int)]
    names = ", ".join(given)
    if data.view is not None and data.view not in views.allowed(given):
        allowed = ", ".join(views.allowed(given)) or "none; leave it out"
        raise UserError(f"config.data.view: {data.view!r} does not fit data of {names}. Allowed: {allowed}.")
    for field in ("image_size", "permutation_seed"):
        if getattr(data, field) is not None and "image" not in given:
            raise UserError(f"config.data.{field}: the data have no images, but {names}.")
    for name, augmentation in data.augmentation.items():
        if augmentation.changes not in given:
            raise UserError(f"config.data.augmentation.{name}: the data have no {augmentation.changes!r}, but {names}.")
    if getattr(data.layout, "mark_shared", False) and "token_types" not in objectives.input_names(experiment.model):
        name = experiment.config.model.name
        raise UserError(f"config.data.layout.mark_shared: {name} reads no types of tokens, which are the marks.")


def _check_classes(experiment: Experiment) -> None:
    """Refuses a model with fewer outputs than the data have classes, or fewer tokens or types of tokens than theirs."""
    for field, needed in experiment.data.sizes().items():
        if field == "num_classes" and not getattr(experiment.objective, "reads_classes", False):
            continue
        given = getattr(experiment.model, field, None)
        if given and given < needed:
            named = {"num_classes": "classes", "max_length": "tokens in a sequence", "num_types": "types of tokens"}
            what = named.get(field, "tokens")
            raise UserError(f"config.model.{field}: {given} is too few; the data have {needed} {what}.")


def _explained(what: str, function: Callable[[], Any]) -> Any:
    """Calls `function`; says of an error what it concerns and, below archs/, where it arose."""
    try:
        return function()
    except UserError:
        raise
    except (ValueError, TypeError, AssertionError, ZeroDivisionError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"{what}: {message}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """The last line of the project's own code that led to the error, if it lies in an architecture."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(PROJECT / "archs")
    ]
    return f" ({Path(own[-1].filename).relative_to(PROJECT)}:{own[-1].lineno})" if own else ""
