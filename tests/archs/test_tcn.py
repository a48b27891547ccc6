"""TCN: causality, receptive field, weight normalisation, masks and spatial dropout."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs import tcn

CASES = {
    "last": {"hidden_size": 8, "num_layers": 2, "kernel_size": 3},
    "all": {"hidden_size": 8, "num_layers": 2, "kernel_size": 2, "outputs": "all"},
    "tokens": {"hidden_size": 8, "num_layers": 1, "kernel_size": 2, "vocab_size": 10, "embedding_size": 6},
}
INPUTS = {
    "sequence": np.random.default_rng(0).normal(size=(2, 12, 3)).astype(np.float32),
    "mask": np.arange(12)[None] < np.array([[12], [7]]),
}
TOKENS = np.random.default_rng(1).integers(10, size=(2, 12)).astype(np.int32)
OTHER_INPUTS = {"tokens": {"tokens": TOKENS, "mask": INPUTS["mask"]}}
COUNTS = [
    ({"variant": "mnist", "num_classes": 10}, 66_910),
    ({"variant": "adding", "num_classes": 1}, 70_369, {"sequence": jax.ShapeDtypeStruct((600, 2), "float32")}),
    ({"variant": "copy_memory", "num_classes": 10}, 12_530, {"sequence": jax.ShapeDtypeStruct((1020, 1), "float32")}),
]

SEQUENCE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 40, 3)), jnp.float32)


@pytest.mark.parametrize("kernel_size, num_layers, reach", [(2, 3, 15), (3, 3, 29), (5, 2, 25), (1, 2, 1)])
def test_receptive_field_is_exact(kernel_size, num_layers, reach, random_variables):
    """Gradients of an output are zero in its future and before its receptive field, and nowhere between."""
    model = archs.build(
        "tcn", num_classes=4, hidden_size=16, num_layers=num_layers, kernel_size=kernel_size, outputs="all"
    )
    assert model.receptive_field == reach
    params = random_variables(model, SEQUENCE)
    gradient = jax.jit(lambda step: jax.grad(lambda x: model.apply(params, x)[:, step].sum())(SEQUENCE))
    for step in (0, 20, 35, 39):
        reached = np.abs(gradient(step)).max(axis=(0, 2)) > 0
        np.testing.assert_array_equal(reached, (np.arange(40) <= step) & (np.arange(40) > step - reach))


def test_published_receptive_fields_span_their_sequences():
    for variant, reach in [("mnist", 3061), ("adding", 3571), ("copy_memory", 3571)]:
        assert archs.build("tcn", variant=variant, num_classes=1).receptive_field == reach


def test_weights_are_a_gain_times_a_direction(random_variables):
    layer = tcn.CausalConv(features=5, kernel_size=3, dilation=2)
    params = random_variables(layer, SEQUENCE)["params"]
    direction, scale = np.asarray(params["kernel"]), np.asarray(params["scale"])
    weights = scale * direction / np.sqrt((direction**2).sum(axis=(0, 1)))
    padded = np.pad(SEQUENCE, ((0, 0), (4, 0), (0, 0)))
    expected = sum(padded[:, 2 * tap : 2 * tap + 40] @ weights[tap] for tap in range(3)) + np.asarray(params["bias"])
    apply = jax.jit(layer.apply)
    np.testing.assert_allclose(apply({"params": params}, SEQUENCE), expected, rtol=1e-5, atol=1e-5)
    longer = {"params": {**params, "kernel": 7 * params["kernel"]}}
    np.testing.assert_allclose(apply(longer, SEQUENCE), expected, rtol=1e-5, atol=1e-5)


def test_gain_starts_as_the_length_of_the_direction():
    layer = tcn.CausalConv(features=5, kernel_size=3, dilation=1)
    params = layer.init(jax.random.key(0), SEQUENCE)["params"]
    np.testing.assert_allclose(params["scale"], np.sqrt(np.square(params["kernel"]).sum(axis=(0, 1))), rtol=1e-6)
    assert np.abs(params["kernel"]).max() <= 1 / np.sqrt(9)


@pytest.mark.parametrize("outputs", ["last", "all"])
@pytest.mark.parametrize("padding", [(0, 6), (6, 0)], ids=["right", "left"])
def test_padding_changes_nothing(padding, outputs, random_variables):
    """Outputs at real steps and gradients are those of the sequence cut to its length, even if the padding is NaN."""
    model = archs.build("tcn", num_classes=4, hidden_size=8, num_layers=3, kernel_size=3, outputs=outputs)
    cut = SEQUENCE[:, :20]
    params = random_variables(model, cut)
    before, after = padding
    padded = jnp.pad(cut, ((0, 0), padding, (0, 0)), constant_values=jnp.nan)
    steps = jnp.arange(26)
    mask = jnp.broadcast_to((steps >= before) & (steps < 26 - after), (2, 26))
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(2, 20, 4)), jnp.float32)

    def loss(params, sequence, mask, start):
        y = model.apply(params, sequence, mask)
        if outputs == "all":
            y = y[:, start : start + 20]
        return jnp.sum(y * (weights if outputs == "all" else weights[:, 0])), y

    value_and_grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), static_argnums=3)
    (_, expected), (expected_gradient, expected_input_gradient) = value_and_grad(params, cut, None, 0)
    (_, y), (gradient, input_gradient) = value_and_grad(params, padded, mask, before)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, expected_gradient)
    np.testing.assert_allclose(input_gradient[:, before : 26 - after], expected_input_gradient, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(input_gradient)[~np.asarray(mask)], 0)


def test_last_is_the_last_real_step_of_each_row(random_variables):
    everywhere, last = (
        archs.build("tcn", num_classes=4, hidden_size=8, num_layers=2, outputs=outputs) for outputs in ("all", "last")
    )
    params = random_variables(last, SEQUENCE)
    mask = jnp.arange(40)[None] < jnp.array([[40], [13]])
    y = jax.jit(everywhere.apply)(params, SEQUENCE)
    np.testing.assert_allclose(jax.jit(last.apply)(params, SEQUENCE, mask), [y[0, 39], y[1, 12]], rtol=1e-6)


def test_dropout_takes_whole_channels(random_variables):
    """After ReLU of positive pre-activations, a channel is zero at all steps or at none."""
    block = tcn.TemporalBlock(features=64, kernel_size=2, dilation=1, dropout_rate=0.5)
    mask = jnp.ones((2, 40), bool)
    params = random_variables(block, SEQUENCE, mask)["params"]
    conv_1 = {**params["conv_1"], "scale": jnp.zeros(64), "bias": jnp.ones(64)}
    residual = jax.tree.map(jnp.zeros_like, params["residual"])
    variables = {"params": {**params, "conv_1": conv_1, "residual": residual}}
    y = block.apply(variables, SEQUENCE, mask, train=True, rngs={"dropout": jax.random.key(0)})
    dropped = np.asarray(y) == 0
    np.testing.assert_array_equal(dropped, np.broadcast_to(dropped[:, :1], dropped.shape))
    assert 32 < dropped[:, 0].sum() < 96
    np.testing.assert_array_equal(np.unique(y), [0, 2])


def test_size_does_not_depend_on_length():
    model = archs.build("tcn", num_classes=2)
    one, other = (
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, length, 1), jnp.float32))
        for length in (8, 4096)
    )
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)
