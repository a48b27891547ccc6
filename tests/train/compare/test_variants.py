"""Which configs a command compares, and which mistakes it refuses."""

import pytest

from train.compare import variants
from train.errors import UserError


def test_variants_of_the_file_in_its_order(config_file: str) -> None:
    compared = variants.load(config_file, overrides=["steps=7"])
    assert list(compared) == ["narrow", "wide"]
    assert [config.model.hidden_sizes for config in compared.values()] == [(16,), (64,)]
    assert [config.steps for config in compared.values()] == [7, 7]


def test_one_variant_by_its_argument(config_file: str) -> None:
    assert list(variants.load(f"{config_file}:wide")) == ["wide"]


def test_varied_fields_are_multiplied(config_file: str) -> None:
    vary = ["model.activation=relu,tanh", "config.optimizer.learning_rate=1e-3,1e-2"]
    compared = variants.load(f"{config_file}:wide", vary)
    assert {label: (c.model.activation, c.optimizer.learning_rate) for label, c in compared.items()} == {
        "relu learning_rate=1e-3": ("relu", 1e-3),
        "relu learning_rate=1e-2": ("relu", 1e-2),
        "tanh learning_rate=1e-3": ("tanh", 1e-3),
        "tanh learning_rate=1e-2": ("tanh", 1e-2),
    }
    assert all(config.model.hidden_sizes == (64,) for config in compared.values())


def test_variants_of_the_file_are_varied_too(config_file: str) -> None:
    compared = variants.load(config_file, ["model.activation=relu,tanh"])
    assert list(compared) == ["narrow relu", "narrow tanh", "wide relu", "wide tanh"]


def test_commas_within_brackets_belong_to_the_value() -> None:
    expected = ("model.hidden_sizes", ["(16, 16)", "(64,)"])
    assert variants.parse_axis("model.hidden_sizes=(16, 16),(64,)") == expected


@pytest.mark.parametrize(
    ("vary", "overrides", "message"),
    [
        (["model.activation"], [], "section.field=value,value"),
        (["model.activation=relu,"], [], "section.field=value,value"),
        (["model.activation=relu,relu"], [], "names a value twice"),
        (["model.activation=relu", "model.activation=tanh"], [], "model.activation: is set twice"),
        (
            ["model.activation=relu,tanh"],
            ["--config.model.activation=gelu"],
            "model.activation: is set twice",
        ),
        (["seed=1,2"], [], "--seeds=N"),
        ([], ["seed=1"], "--seeds=N"),
        (["model.activatoin=relu,tanh"], [], "did you mean 'activation'"),
        (["model.activation=relu,swoosh"], [], "swoosh"),
        (["model.dropout_rate=0,0.0"], [], "compute the same"),
        (["log_every=10,20"], [], "compute the same"),
    ],
)
def test_mistakes_are_refused(config_file: str, vary: list[str], overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        variants.load(f"{config_file}:wide", vary, overrides)
