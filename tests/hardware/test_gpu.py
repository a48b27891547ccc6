"""What only an NVIDIA GPU can show: its kernels run, and compute what the formulas say. Skipped where there is none."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs.layers import fused_attention, mixers
from archs.layers.mixers import dense
from archs.layers.recurrent import LSTMCell, RecurrentStack
from train.energy import Energy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU"),
]
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _exact_products():
    """Without this, a GPU rounds the factors of float32 products to 10 bits."""
    with jax.default_matmul_precision("highest"):
        yield


def assert_near(actual, expected, tolerance):
    """By the norm of each array's difference, of the norm of what is expected."""
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


def heads(length):
    return jnp.asarray(RNG.normal(size=(2, length, 4, 64)), jnp.bfloat16)


def value_and_gradients(attend, q, k, v, upstream):
    def loss(q, k, v):
        outputs = attend(q, k, v)
        return (outputs * upstream).astype(jnp.float32).sum(), outputs

    (_, outputs), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(q, k, v)
    return outputs, *gradients


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length, masked", [(100, True), (512, True), (2048, False)])
def test_fused_attention_is_the_formula(length, masked, causal):
    """Outputs and gradients in bfloat16 beside the formula in float32 on the same inputs; 2⁻⁸ is one rounding."""
    q, k, v, upstream = (heads(length) for _ in range(4))
    mask = jnp.asarray(np.arange(length)[None] < np.array([[length], [length - 37]])) if masked else None
    assert mixers.build("dense", {}).chosen(q, k, v, mask) == "fused"
    actual = value_and_gradients(
        lambda q, k, v: fused_attention.attend(q, k, v, mask=mask, causal=causal), q, k, v, upstream
    )
    visible = dense.visible_keys(length, length, mask, causal)
    wide = [x.astype(jnp.float32) for x in (q, k, v, upstream)]
    expected = value_and_gradients(lambda q, k, v: dense.plain(q, k, v, visible), *wide)
    assert_near(actual, expected, 2**-6)


def test_fused_attention_needs_no_matrix_of_weights():
    length = 8192
    x = jax.ShapeDtypeStruct((1, length, 4, 64), jnp.bfloat16)

    def loss(q, k, v):
        return fused_attention.attend(q, k, v, mask=None, causal=True).astype(jnp.float32).sum()

    memory = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, x, x).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 4 * length**2 * 2 / 4  # A quarter of the matrix in bfloat16.


@pytest.mark.parametrize("mixer", ["dense", "local", "bigbird", "linformer", "performer", "synthesizer"])
def test_mixers_compute_what_the_cpu_computes(mixer):
    given = {"linformer": {"projection_size": 16, "max_length": 128}, "synthesizer": {"max_length": 128}}
    model = archs.build("encoder", vocab_size=50, num_classes=3, hidden_size=32, num_layers=1, num_heads=2, mlp_size=64,
                        max_length=128, mixer=mixer, mixer_kwargs=given.get(mixer, {}))  # fmt: skip
    assert_alike_on_both(model, jnp.asarray(RNG.integers(0, 50, (2, 127))))


@pytest.mark.parametrize("name", ["resnet", "vit", "lenet"])
def test_image_networks_compute_what_the_cpu_computes(name):
    fields = {
        "resnet": {"variant": "18", "hidden_sizes": (8, 16, 16, 16)},
        "vit": {"variant": "Ti/16", "patch_size": 8, "num_layers": 2},
        "lenet": {"variant": "modern"},
    }[name]
    size = (28, 28, 1) if name == "lenet" else (64, 64, 3)
    assert_alike_on_both(
        archs.build(name, num_classes=5, **fields), jnp.asarray(RNG.normal(size=(2, *size)), jnp.float32)
    )


def assert_alike_on_both(model, inputs):
    """Outputs and gradients on the GPU are those of the CPU, to rounding."""
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        variables = model.init(jax.random.key(0), jax.device_put(inputs, cpu))

    def loss(params, rest, inputs):
        outputs = model.apply({"params": params, **rest}, inputs)
        return jnp.square(outputs).mean(), outputs

    rest, params = {k: v for k, v in variables.items() if k != "params"}, variables["params"]
    step = jax.jit(jax.grad(loss, has_aux=True))
    gpu = jax.devices("gpu")[0]
    on_gpu, on_cpu = (step(*jax.device_put((params, rest, inputs), device)) for device in (gpu, cpu))
    scale = max(float(np.linalg.norm(leaf)) for leaf in jax.tree.leaves(on_cpu[0]))
    for actual, expected in zip(jax.tree.leaves(on_gpu), jax.tree.leaves(on_cpu), strict=True):
        np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-3, atol=1e-4 * max(scale, 1e-3))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", ["one", "two"])
def test_cudnn_lstm_is_the_scan(bias, bidirectional):
    stack = RecurrentStack(LSTMCell(), hidden_size=48, num_layers=2, bidirectional=bidirectional, bias=bias)
    sequence, upstream = (jnp.asarray(RNG.normal(size=(4, 50, size)), jnp.float32) for size in (20, 48))
    if bidirectional:
        upstream = jnp.concatenate([upstream, upstream], -1)
    variables = stack.init(jax.random.key(0), sequence)

    def gradients(implementation):
        network = stack.clone(implementation=implementation)

        def loss(variables, sequence):
            outputs, states = network.apply(variables, sequence)
            return (outputs * upstream).sum(), (outputs, states)

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables, sequence)

    assert_near(gradients("cudnn"), gradients("scan"), 1e-3)


def test_joules_of_the_card_are_counted():
    energy = Energy()
    x = jnp.ones((4096, 4096))
    product = jax.jit(lambda x: x @ x / 4096)
    for _ in range(300):
        x = product(x)
    x.block_until_ready()
    assert energy.joules()["gpu"] > 0
