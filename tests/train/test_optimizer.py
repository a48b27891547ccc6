"""Schedules at the steps that matter, and every Optax optimizer by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

import archs
from train import optimizer
from train.errors import UserError
from train.optimizer import Optimizer


def rates(steps: int, **schedule) -> np.ndarray:
    chosen = Optimizer("sgd", learning_rate=2.0, schedule=FrozenDict({"warmup_steps": 0, **schedule}))
    rate = chosen.learning_rates(steps)
    return np.array([float(rate(step)) for step in range(steps + 1)])


def test_constant():
    np.testing.assert_array_equal(rates(4, name="constant"), np.full(5, 2.0))


def test_warmup_rises_in_a_straight_line():
    np.testing.assert_allclose(rates(6, name="constant", warmup_steps=4), [0, 0.5, 1, 1.5, 2, 2, 2])


def test_cosine_ends_at_its_fraction_and_starts_after_the_warmup():
    found = rates(14, name="cosine", warmup_steps=4, final_fraction=0.1)
    np.testing.assert_allclose(found[[4, 9, 14]], [2.0, 1.1, 0.2], rtol=1e-6)


def test_linear():
    np.testing.assert_allclose(rates(4, name="linear", final_fraction=0.5), [2, 1.75, 1.5, 1.25, 1])


def test_rsqrt_is_that_of_vaswani():
    # lr = d^-0.5 min(step^-0.5, step warmup^-1.5), up to its constant factor.
    found = rates(400, name="rsqrt", warmup_steps=100, timescale=100)
    step = np.arange(1, 401)
    np.testing.assert_allclose(found[1:], 2 * 10 * np.minimum(step**-0.5, step * 100**-1.5), rtol=1e-5)


def test_step_falls_at_its_boundaries():
    found = rates(8, name="step", factor=0.1, boundaries=(0.5, 0.75))
    np.testing.assert_allclose(found[[0, 3, 5, 7]], [2, 2, 0.2, 0.02], rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["sgd", "adam", "adamw", "lamb", "lars", "adafactor", "lion", "rmsprop", "yogi", "adan"]
)
def test_optax_optimizers_by_name(name):
    assert "learning_rate" in optimizer.fields(name)
    defaults = {key: f.default for key, f in optimizer.fields(name).items() if not f.is_required}
    built = optimizer.build(
        defaults | {"name": name, "learning_rate": 0.1, "schedule": FrozenDict(name="constant", warmup_steps=0)}
    )
    transformation = built.transformation(10)
    params = {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}
    updates, _ = transformation.update(params, transformation.init(params), params)
    assert all(jnp.all(leaf < 0) for leaf in jax.tree.leaves(updates)), "downhill"


def test_decay_is_for_kernels_and_embeddings():
    chosen = Optimizer("adamw", 1.0, FrozenDict(weight_decay=0.5), FrozenDict(name="constant", warmup_steps=0))
    model = archs.build("vit", num_classes=10, patch_size=4, hidden_size=8, num_layers=1, num_heads=2, mlp_size=8)
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]
    transformation = chosen.transformation(10)

    @jax.jit
    def decay(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return transformation.update(zeros, transformation.init(params), params)[0]

    updates = decay(params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert bool(jnp.any(update != 0)) is name.endswith(("kernel", "embedding")), name


@pytest.mark.parametrize(
    "fields",
    [{"learning_rate": -1.0}, {"learning_rate": float("nan")}, {"clip_norm": 0.0}, {"ema_decay": 1.0}],
    ids=str,
)
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(UserError, match=f"config.optimizer.{next(iter(fields))}"):
        optimizer.build({"name": "sgd", "learning_rate": 1.0, **fields})


def test_clipping_is_by_the_global_norm():
    chosen = Optimizer("sgd", 1.0, schedule=FrozenDict(name="constant", warmup_steps=0), clip_norm=1.0)
    gradients = {"a": jnp.full(1, 3.0), "b": jnp.full(1, 4.0)}
    transformation = chosen.transformation(10)
    updates, _ = transformation.update(gradients, transformation.init(gradients), gradients)
    np.testing.assert_allclose([updates["a"][0], updates["b"][0]], [-0.6, -0.8], rtol=1e-6)


def test_the_penalty_is_the_gradient_of_half_the_squared_norm_of_matrices():
    params = {"layer": {"kernel": jnp.asarray([[1.0, -2.0]]), "bias": jnp.asarray([3.0])}}

    def penalised(params):
        return 0.5 * 0.1 * jnp.square(params["layer"]["kernel"]).sum()

    zeros = jax.tree.map(jnp.zeros_like, params)
    schedule = FrozenDict({"name": "constant", "warmup_steps": 0})
    chain = Optimizer("sgd", learning_rate=1.0, l2_penalty=0.1, schedule=schedule).transformation(10)
    updates, _ = chain.update(zeros, chain.init(params), params)
    jax.tree.map(np.testing.assert_allclose, updates, jax.tree.map(jnp.negative, jax.grad(penalised)(params)))
