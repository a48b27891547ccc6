"""Every config: what it says of itself, and that each of its choices can be built and trained from a fresh clone."""

import inspect
import re

import numpy as np
import pytest

from train import catalogue, loop
from train import config as configs
from train.errors import UserError
from train.experiment import build
from train.modules import PROJECT

MODULES = catalogue.modules()
EMBEDDED = {name: module for name, module in MODULES.items() if catalogue.takes_embedded(module)}
ALL = [f"{name}:{choice}:embedded" for name, module in EMBEDDED.items() for choice in catalogue.choices(module)]
ALL += [f"{name}:{choice}" for name in MODULES if name not in EMBEDDED for choice in catalogue.choices(MODULES[name])]
SHORT = ["steps=2", "log_every=1", "data.batch_size=4", "data.length_buckets=()"]  # what a test shortens


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    """Whatever lies beside the checkout, these tests do without."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("DATA_DIR", raising=False)


@pytest.mark.parametrize("name", MODULES)
def test_says_what_it_is_how_it_is_run_and_what_comes_out(name):
    docstring = inspect.getdoc(MODULES[name]) or ""
    assert docstring.split("\n")[1] == "", "a title of one line"
    assert re.search(r"(?m)^    .*\./launch\.sh ", docstring), "a command"
    assert re.search(r"(?m)^Result|^Not measured", docstring), "a result, or that there is none yet"
    words = {word for choice in catalogue.choices(MODULES[name]) for word in re.split("[-_]", choice)}
    missing = [word for word in words if not re.search(rf"(\b|_){re.escape(word)}(\b|_)", docstring)]
    assert not missing, "arguments"


def test_the_catalogue_is_up_to_date():
    assert (PROJECT / "configs" / "README.md").read_text() == catalogue.page(), "run python -m train.catalogue"


def test_commands_in_the_catalogue_can_be_copied():
    outside = re.sub(r"(?ms)^```.*?^```$", "", catalogue.page())
    assert not re.search(r"(?m)^(\S+=\S* )*\./launch\.sh", outside)


@pytest.mark.parametrize("path", ALL)
def test_every_choice_resolves(path):
    config = configs.load(f"configs/{path}")
    assert configs.from_json(configs.to_json(config)) == config


@pytest.mark.parametrize("name", MODULES)
def test_an_unknown_argument_is_refused(name):
    with pytest.raises(UserError, match="nonsense"):
        configs.load(f"configs/{name}:nonsense")


def one_of_each_model(paths: list[str]) -> list[str]:
    """Of each config, one choice for each architecture that it trains: the others differ in numbers only."""
    found: dict[tuple[str, str], str] = {}
    for path in paths:
        model = configs.load(f"configs/{path}").model
        found.setdefault((path.partition(":")[0], model.name), path)
    return sorted(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("path", one_of_each_model(ALL))
def test_trains_from_a_fresh_clone(path, tmp_path):
    rows = trained(configs.load(f"configs/{path}"), tmp_path, SHORT)
    assert len(rows) == 2 and np.isfinite([row["train/loss"] for row in rows]).all()


def trained(config, folder, overrides) -> list:
    """The log of a run whose evaluators, which have tests of their own, are only built."""
    small = {"data.source.train_size": 40, "data.source.eval_size": 20}
    wanted = [*overrides, *(f"{field}={size}" for field, size in small.items())]
    fields = configs.flatten(configs.to_json(config))
    config = configs.resolve(config, [override for override in wanted if override.partition("=")[0] in fields])
    assert build(config).evaluators
    config = config.to_dict() | {"evaluators": {}}
    loop.train(configs.from_json(config), folder)
    return [row for row in loop.writers.read_rows(folder) if "train/loss" in row]


# Of the Long Range Arena, every task meets every mixer, all of them small: 16 wide, 64 tokens.
MIXERS = {
    "dense": {},
    "local": {"window_size": 8},
    "synthesizer": {"max_length": 65},
    "linformer": {"max_length": 65, "projection_size": 8},
    "performer": {"num_features": 8},
    "bigbird": {"block_size": 8},
}
TASKS = ("listops_short", "text", "retrieval", "image", "pathfinder")


@pytest.mark.slow
@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("task", TASKS)
def test_a_cell_of_the_long_range_arena_trains_20_steps(task, mixer, tmp_path):
    is_image = task in ("image", "pathfinder")
    tiny = ["model.hidden_size=16", "model.num_layers=1", "model.num_heads=2", "model.mlp_size=16", "steps=20"]
    tiny += ["model.max_length=64", "data.batch_size=4", "log_every=10"]
    # Texts and expressions that are cut say less, but are read all the same.
    tiny += ["data.image_size=8"] if is_image else ["data.layout.max_length=64", "data.layout.truncate=True"]
    tiny += [] if is_image else ["data.length_buckets=()"]
    chosen = [f"model.mixer={mixer}", *(f"model.mixer_kwargs.{field}={n}" for field, n in MIXERS[mixer].items())]
    rows = trained(configs.load(f"configs/lra.py:{task}:embedded", chosen), tmp_path, [*tiny, *chosen])
    assert len(rows) == 2 and np.isfinite([row["train/loss"] for row in rows]).all()
