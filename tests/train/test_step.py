"""The step as a pure function: accumulation, averages, determinism, and numbers that are not finite."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

import archs
from train import config as configs
from train import objectives, step
from train.data import TrainingBatches
from train.experiment import build
from train.objectives import classification
from train.optimizer import Optimizer
from train.step import train_step

CONSTANT = FrozenDict({"name": "constant", "warmup_steps": 0})


def recipe_and_batch(*overrides: str, size: int = 32):
    config = configs.load(
        "configs/quickstart.py:mlp",
        [
            "model.hidden_sizes=16",
            "model.dropout_rate=0",
            "optimizer.schedule.warmup_steps=0",
            f"data.batch_size={size}",
            *overrides,
        ],
    )
    experiment = build(config)
    batch = TrainingBatches(experiment.data, experiment.view, 0, 10, slice(0, size))[0]
    return experiment.recipe, {key: jnp.asarray(value) for key, value in batch.items()}


def start(recipe, batch, seed: int = 0):
    return step.init(recipe, jnp.uint32(seed), objectives.model_inputs(recipe.model, batch))


def distance(a, b) -> float:
    return max(float(jnp.max(jnp.abs(x - y))) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("parts", [2, 8])
@pytest.mark.parametrize("count", [32, 13])
def test_accumulation_equals_the_whole_batch(parts, count):
    whole, batch = recipe_and_batch("optimizer.name=sgd")
    batch["valid"] = jnp.arange(32) < count  # so that micro-batches count unequally
    cut = dataclasses.replace(whole, optimizer=dataclasses.replace(whole.optimizer, accumulate_steps=parts))
    (a, measured), (b, again) = (train_step(recipe, start(whole, batch), batch) for recipe in (whole, cut))
    assert distance(a.params, b.params) < 1e-8
    for name in ("loss", "accuracy", "gradient_norm"):
        np.testing.assert_allclose(objectives.mean(again[name]), objectives.mean(measured[name]), rtol=1e-5)
    assert again["loss"][1] == count


def cut_and_whole(model, objective, batch, parts):
    """Parameters, the model's other collections and metrics after one update, made whole and part by part."""
    for number in (1, parts):
        optimizer = Optimizer("sgd", 1.0, schedule=CONSTANT, accumulate_steps=number)
        recipe = step.Recipe(model, objective, optimizer, steps=1)
        state, metrics = jax.jit(functools.partial(train_step, recipe))(start(recipe, batch), batch)
        yield state.params, state.model_state, metrics


def test_terms_of_a_loss_that_count_apart_are_means_over_the_whole_batch():
    """Labels count rows, and the language model beside them counts tokens, of which rows have unequally many."""
    sizes = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 8, "dropout_rate": 0.0}
    model = archs.build(
        "gpt", vocab_size=9, max_length=12, **sizes, num_classes=3, predicts_tokens=True, head="sequence"
    )
    rng = np.random.default_rng(0)
    batch = {
        "tokens": jnp.asarray(rng.integers(9, size=(8, 12))),
        "mask": jnp.arange(12)[None] < jnp.asarray([12, 2, 5, 3, 12, 7, 2, 4])[:, None],
        "label": jnp.asarray(rng.integers(3, size=8)),
    }
    whole, cut = cut_and_whole(model, classification.Objective(language_model_weight=0.5), batch, 4)
    assert distance(whole[0], cut[0]) < 1e-6
    np.testing.assert_allclose(cut[2]["gradient_norm"][0], whole[2]["gradient_norm"][0], rtol=1e-5)


def test_features_of_a_mixer_are_drawn_once_in_an_update():
    sizes = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 8, "dropout_rate": 0.0}
    mixer = {"mixer": "performer", "mixer_kwargs": {"num_features": 4, "redraw_every": 1}}
    model = archs.build("encoder", vocab_size=9, num_classes=3, max_length=6, **sizes, **mixer)
    rng = np.random.default_rng(0)
    batch = {"tokens": jnp.asarray(rng.integers(9, size=(8, 6))), "label": jnp.asarray(rng.integers(3, size=8))}
    whole, cut = cut_and_whole(model, classification.Objective(), batch, 4)
    assert distance(whole[0], cut[0]) < 1e-6
    assert distance(whole[1], cut[1]) == 0


def test_rows_that_fill_up_a_batch_count_nothing():
    recipe, batch = recipe_and_batch()
    state = start(recipe, batch)
    batch["valid"] = jnp.arange(32) < 20
    few = {key: value[:20] for key, value in batch.items()}
    a, b = step.eval_step(recipe, state, batch), step.eval_step(recipe, state, few)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def test_a_step_is_a_function_of_seed_and_step():
    recipe, batch = recipe_and_batch("model.dropout_rate=0.5")
    state = start(recipe, batch)
    (a, _), (b, _) = train_step(recipe, state, batch), train_step(recipe, state, batch)
    assert distance(a.params, b.params) == 0
    other, _ = train_step(recipe, state.replace(seed=jnp.uint32(1)), batch)
    later, _ = train_step(recipe, state.replace(step=jnp.int32(5)), batch)
    assert distance(a.params, other.params) > 0 and distance(a.params, later.params) > 0


def test_another_seed_starts_elsewhere():
    recipe, batch = recipe_and_batch()
    assert distance(start(recipe, batch, 0).params, start(recipe, batch, 1).params) > 0


def test_the_average_follows_the_parameters():
    recipe, batch = recipe_and_batch("optimizer.ema_decay=0.75", "optimizer.name=sgd")
    state = start(recipe, batch)
    after, _ = train_step(recipe, state, batch)
    expected = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, state.params, after.params)
    assert distance(after.ema_params, expected) < 1e-7
    averaged = step.eval_step(recipe, after, batch)
    plain = step.eval_step(recipe, after.replace(params=after.ema_params), batch)
    np.testing.assert_array_equal(averaged["loss"][0], plain["loss"][0])


def test_the_first_number_that_is_not_finite_is_remembered():
    recipe, batch = recipe_and_batch()
    state = start(recipe, batch)
    state, metrics = train_step(recipe, state, batch)
    assert metrics["first_nonfinite"] == 0
    bad = batch | {"features": batch["features"].at[0, 0].set(jnp.nan)}
    state, metrics = train_step(recipe, state, bad)
    assert metrics["first_nonfinite"] == 2
    state, metrics = train_step(recipe, state, batch)
    assert metrics["first_nonfinite"] == 2 and state.first_nonfinite == 2


def test_batch_statistics_change_in_training_only():
    recipe, batch = recipe_and_batch("model.normalization=batch")
    state = start(recipe, batch)
    after, _ = train_step(recipe, state, batch)
    assert distance(after.model_state["batch_stats"], state.model_state["batch_stats"]) > 0


def test_label_smoothing_spreads_probability():
    recipe, batch = recipe_and_batch("objective.label_smoothing=0.1")
    state = start(recipe, batch)
    logits = recipe.model.apply({"params": state.params}, batch["features"])
    target = 0.9 * jax.nn.one_hot(batch["label"], 10) + 0.01
    expected = -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), -1))
    loss = objectives.mean(step.eval_step(recipe, state, batch)["loss"])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_bfloat16_computes_with_float32_parameters():
    recipe, batch = recipe_and_batch("model.dtype=bfloat16")
    after, metrics = train_step(recipe, start(recipe, batch), batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(after.params)} == {jnp.dtype("float32")}
    assert jnp.isfinite(metrics["loss"][0])


def test_runs_that_differ_in_the_seed_share_compiled_steps():
    from train.mesh import MeshShape

    experiments = [build(configs.load("configs/quickstart.py:mlp", [f"seed={seed}"])) for seed in (0, 1)]
    mesh = MeshShape().build()
    first, second = (step.compile_steps(e.recipe, mesh, e.spec) for e in experiments)
    assert first is second


def test_regression_refuses_outputs_of_another_shape():
    config = configs.load(
        "configs/quickstart.py:rnn",
        ["data.source.name=adding", "data.source.train_size=64", "objective.name=regression", "model.num_classes=3"],
    )
    config.unlock()
    config.evaluators = {"loss": {"split": "test", "every": None}}
    from train.errors import UserError

    with pytest.raises(UserError, match="set num_classes"):
        build(config)
