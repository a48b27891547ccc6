"""Which layers a network has, and what they put out, against the modules themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import archs
from archs.layers.stack import stack_layers
from train import representations

VIT = {"num_classes": 3, "patch_size": 4, "hidden_size": 8, "num_layers": 3, "num_heads": 2, "mlp_size": 16}
IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 12, 1)), "float32")


def fresh(name, **fields):
    model = archs.build(name, **fields)
    made = jax.jit(model.init)(jax.random.key(0), IMAGE)
    return model, {name: made[name] for name in made if name != "intermediates"}


@pytest.mark.parametrize("remat", ["none", "full"])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_blocks_stand_in_the_place_of_their_stack(scan_layers, remat):
    model, variables = fresh("vit", **VIT, scan_layers=scan_layers, remat=remat)
    blocks = tuple(f"blocks/layer_{number}" for number in range(3))
    assert representations.names(model, variables, {"image": IMAGE}) == (
        "patches",
        "positions",
        *blocks,
        "norm",
        "head",
    )


def test_layers_of_a_convolutional_network():
    model, variables = fresh("lenet", num_classes=3, dropout_rate=0.5)
    layers = representations.names(model, variables, {"image": IMAGE})
    assert layers == ("c1", "c3", "c5", "f6", "head"), "dropout has no parameters"
    found = representations.outputs(model, variables, {"image": IMAGE}, layers)
    assert [value.shape[1:] for value in found.values()] == [(12, 12, 6), (2, 2, 16), (120,), (84,), (3,)]
    np.testing.assert_array_equal(found["head"], model.apply(variables, IMAGE))


def test_a_scanned_stack_puts_out_what_the_looped_one_does():
    looped, variables = fresh("vit", **VIT)
    scanned = archs.build("vit", **VIT, scan_layers=True)
    stacked = {"params": {**variables["params"], "blocks": stack_layers(variables["params"]["blocks"])}}
    inputs = {"image": IMAGE}
    layers = representations.names(looped, variables, inputs)
    for function in (representations.outputs, representations.attention):
        one, other = function(looped, variables, inputs, layers), function(scanned, stacked, inputs, layers)
        assert one.keys() == other.keys() and one
        for name in one:
            np.testing.assert_allclose(one[name], other[name], atol=1e-5, err_msg=name)


def test_attention_is_of_blocks_and_sums_to_one():
    model, variables = fresh("vit", **VIT)
    layers = representations.names(model, variables, {"image": IMAGE})
    found = representations.attention(model, variables, {"image": IMAGE}, layers)
    assert list(found) == [f"blocks/layer_{number}" for number in range(3)]
    for weights in found.values():
        assert weights.shape == (2, 2, 10, 10)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)


def test_without_weights_there_is_no_attention():
    model, variables = fresh("vit", **VIT, mixer="performer")
    assert not representations.attention(model, variables, {"image": IMAGE}, ["patches", "blocks/layer_0"])
