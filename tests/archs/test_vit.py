"""Vision Transformer: a set of patches, unless positions say otherwise."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs import vit

CASES = {
    "token": {
        "patch_size": 8,
        "hidden_size": 16,
        "num_layers": 1,
        "num_heads": 2,
        "mlp_size": 32,
        "initialization": "clip",
    },
    "mean": {
        "patch_size": 8,
        "hidden_size": 16,
        "num_layers": 1,
        "num_heads": 4,
        "mlp_size": 8,
        "norm": "post",
        "norm_epsilon": 1e-5,
        "activation": "relu",
        "patch_bias": False,
        "embedding_norm": True,
        "pool": "mean",
        "positions": "sinusoidal",
        "mixer": "dense",
        "mixer_kwargs": {"dropout_rate": 0.5},
        "scan_layers": True,
        "remat": "products",
    },
}
INPUTS = {"image": np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)}
COUNTS = [
    ({"variant": variant, "num_classes": 1000}, count)
    for variant, count in {
        "Ti/16": 5_717_416,
        "S/16": 22_050_664,
        "B/16": 86_567_656,
        "B/32": 88_224_232,
        "L/16": 304_326_632,
        "H/14": 632_045_800,
    }.items()
]

FIELDS = {
    "patch_size": 4,
    "hidden_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_size": 8,
    "num_classes": 3,
}
IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 12, 1)), jnp.float32)


def shuffle_patches(image: jax.Array) -> jax.Array:
    """The same 4×4 patches in another order."""
    patches = image.reshape(2, 2, 4, 3, 4, 1).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 4, 4, 1)
    patches = patches[:, [3, 0, 5, 1, 4, 2]].reshape(2, 2, 3, 4, 4, 1)
    return patches.transpose(0, 1, 3, 2, 4, 5).reshape(image.shape)


@pytest.mark.parametrize("pool", ["token", "mean"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_order_of_patches_matters_only_with_positions(pool, positions, random_variables):
    model = archs.build("vit", **FIELDS, pool=pool, positions=positions)
    params = random_variables(model, IMAGE)
    apply = jax.jit(model.apply)
    same = np.allclose(apply(params, IMAGE), apply(params, shuffle_patches(IMAGE)), atol=1e-5)
    assert same == (positions == "none")


def test_attention_weights_can_be_read(random_variables):
    model = archs.build("vit", **FIELDS)
    params = random_variables(model, IMAGE)
    assert set(params) == {"params"}
    outputs, sown = jax.jit(lambda p, x: model.apply(p, x, mutable=["intermediates"]))(params, IMAGE)
    np.testing.assert_allclose(outputs, jax.jit(model.apply)(params, IMAGE), rtol=1e-4, atol=1e-5)
    weights = jax.tree.leaves(sown["intermediates"])
    assert [w.shape for w in weights] == [(2, 2, 7, 7)] * 2
    np.testing.assert_allclose(jnp.stack(weights).sum(-1), 1, rtol=1e-5)


def test_class_token_costs_itself_and_one_position():
    token, mean = (
        jax.eval_shape(archs.build("vit", **FIELDS, pool=pool).init, jax.random.key(0), IMAGE)
        for pool in ("token", "mean")
    )
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert count(token) - count(mean) == 2 * FIELDS["hidden_size"]


def positions(values: np.ndarray) -> dict:
    """Parameters of positions that are `values` on a grid, after one of a class token."""
    values = jnp.asarray(values, jnp.float32).reshape(-1, 1)
    return {"token": jnp.ones((1, 1, 1)), "positions": {"embedding": jnp.concatenate([jnp.full((1, 1), 7.0), values])}}


def test_positions_are_interpolated_on_the_grid():
    x, y = np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij")
    params = positions(3 * x - 2 * y)
    bigger = vit.resize_positions(params, 16, 24)["positions"]["embedding"]
    assert bigger[0, 0] == 7
    inside = bigger[1:].reshape(16, 24)[4:-4, 6:-6]  # a plane stays one but near the edges, where places are missing
    x, y = np.meshgrid((np.arange(16) + 0.5) / 2 - 0.5, (np.arange(24) + 0.5) / 3 - 0.5, indexing="ij")
    np.testing.assert_allclose(inside, (3 * x - 2 * y)[4:-4, 6:-6], atol=1e-5)
    same = vit.resize_positions(params, 8, 8)["positions"]["embedding"]
    np.testing.assert_allclose(same, params["positions"]["embedding"], atol=1e-6)
    smaller = vit.resize_positions(params, 2, 2)["positions"]["embedding"][1:]
    np.testing.assert_allclose(smaller.mean(), 3.5, atol=1e-5)


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_a_model_reads_images_of_another_size_with_resized_positions(pool, random_variables):
    model = archs.build("vit", **FIELDS, pool=pool)
    params = random_variables(model, IMAGE[:, :8, :8])["params"]
    resized = vit.resize_positions(params, 2, 3)
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGE)["params"]
    assert jax.tree.map(jnp.shape, resized) == jax.tree.map(jnp.shape, shapes)
    assert np.isfinite(jax.jit(model.apply)({"params": resized}, IMAGE)).all()


@pytest.mark.parametrize(
    "params, message",
    [
        ({"token": jnp.ones((1, 1, 8))}, "vit: these parameters have no positions to resize"),
        ({"positions": {"embedding": jnp.ones((6, 8))}}, "vit: 6 positions of patches are of no square grid"),
    ],
)
def test_what_has_no_grid_is_not_resized(params, message):
    with pytest.raises(ValueError, match=message):
        vit.resize_positions(params, 4, 4)
