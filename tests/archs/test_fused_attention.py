"""The kernels of accelerators, without one: interpreted, traced and lowered."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from archs.layers import fused_attention, mixers
from archs.layers.mixers import dense
from train.mesh import AXES

RNG = np.random.default_rng(0)


def heads(length, width):
    return jnp.asarray(RNG.normal(size=(2, length, 1, width)), jnp.float32)


def shapes(batch, length, dtype, sharding=None, mask_sharding=None):
    x = jax.ShapeDtypeStruct((batch, length, 2, 64), dtype, sharding=sharding)
    return x, x, x, jax.ShapeDtypeStruct((batch, length), bool, sharding=mask_sharding)


def gradient(attend, masked=True):
    """Of a sum of outputs, by queries, keys and values."""

    def loss(q, k, v, mask):
        return attend(q, k, v, mask if masked else None).astype(jnp.float32).sum()

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))


splash = functools.partial(fused_attention.splash, causal=True)


SEVERAL_BLOCKS = [pytest.param(*case, marks=pytest.mark.slow) for case in [(True, 300, 300), (False, 130, 300)]]


@pytest.mark.parametrize("causal, length, memory_length", [(True, 100, 100), *SEVERAL_BLOCKS])
def test_splash_attention_is_the_formula(causal, length, memory_length, monkeypatch):
    """Outputs and gradients, with padding, and values narrower than keys; in Pallas's interpreter."""
    make = functools.partial(splash_attention.make_splash_mha_single_device, interpret=True)
    monkeypatch.setattr(splash_attention, "make_splash_mha_single_device", make)
    q, k, v, weights = heads(length, 8), heads(memory_length, 8), heads(memory_length, 4), heads(length, 4)
    mask = jnp.asarray(np.arange(memory_length)[None] < np.array([[memory_length], [70]]))

    def value_and_gradients(attend):
        def loss(*qkv):
            outputs = attend(*qkv)
            return (outputs * weights).sum(), outputs

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(q, k, v)

    actual = value_and_gradients(lambda *qkv: fused_attention.splash(*qkv, mask, causal))
    visible = dense.visible_keys(length, memory_length, mask, causal)
    expected = value_and_gradients(lambda *qkv: dense.plain(*qkv, visible))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), actual, expected)


@pytest.mark.parametrize(
    "dtype, precision, other", [("bfloat16", "DEFAULT", "HIGHEST"), ("float32", "HIGHEST", "DEFAULT")]
)
def test_splash_attention_has_a_precision_of_its_own(dtype, precision, other):
    """Backwards too: a TPU compiles no exact products of bfloat16."""
    for given in ("highest", "default"):
        with jax.default_matmul_precision(given):
            program = str(jax.make_jaxpr(gradient(splash))(*shapes(2, 300, dtype)))
        assert f"Precision.{precision}" in program and f"Precision.{other}" not in program


def kernels(function, arguments, platform):
    return function.trace(*arguments).lower(lowering_platforms=(platform,)).as_text().count("stablehlo.custom_call")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_splash_attention_lowers_for_a_tpu(dtype):
    """One kernel forwards, two backwards."""
    assert kernels(gradient(splash), shapes(2, 300, dtype), "tpu") == 3


@pytest.mark.parametrize("batch, cuts_batch", [(4, True), (3, False)])
def test_splash_attention_lowers_over_devices(batch, cuts_batch):
    """Batch and heads are cut where the devices divide them."""
    mesh = AbstractMesh((2, 1, 2, 1), AXES, axis_types=(AxisType.Auto,) * 4)
    with jax.sharding.use_abstract_mesh(mesh):
        whole = NamedSharding(mesh, PartitionSpec())
        lowered = (
            gradient(splash).trace(*shapes(batch, 300, "bfloat16", whole, whole)).lower(lowering_platforms=("tpu",))
        )
    program = lowered.as_text()
    assert program.count("stablehlo.custom_call @tpu_custom_call") == 3
    assert f"tensor<{2 if cuts_batch else 3}x300x1x64xbf16>" in program


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_cudnn_lowers_for_a_gpu(causal, masked, monkeypatch):
    """One kernel forwards, one backwards."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91000)
    attend = functools.partial(fused_attention.cudnn, causal=causal)
    assert kernels(gradient(attend, masked), shapes(2, 300, "bfloat16"), "cuda") == 2


REFUSALS = [
    ("cpu", "float32", 64, 64, 300, False, "needs an NVIDIA GPU or a TPU, and this device is cpu"),
    ("gpu", "float32", 64, 64, 300, False, "takes float16 and bfloat16 on a GPU, not float32"),
    ("gpu", "bfloat16", 64, 32, 300, False, r"takes keys and values of one width, .* not of \(64, 32\)"),
    ("gpu", "bfloat16", 60, 60, 300, False, r"takes keys and values of one width, .* not of \(60, 60\)"),
    ("gpu", "bfloat16", 64, 64, 301, False, r"takes even numbers of queries and keys on a GPU, not \(301, 301\)"),
    ("gpu", "bfloat16", 64, 64, 2048, True, "takes a mask up to 1024 positions on a GPU, not 2048"),
    ("TPU v4", "float16", 64, 64, 300, False, "takes bfloat16 and float32 on a TPU v4, not float16"),
    ("TPU v3", "bfloat16", 64, 64, 300, False, "takes float32 on a TPU v3, not bfloat16"),
]


def pretend(monkeypatch, device):
    class Device:
        device_kind = device

    monkeypatch.setattr(jax, "default_backend", lambda: "tpu" if "TPU" in device else device)
    monkeypatch.setattr(jax, "devices", lambda: [Device])


def inputs(dtype, width, value_size, length, masked):
    x = jnp.zeros((1, length, 1, width), dtype)
    return x, x, x[..., :value_size], jnp.ones((1, length), bool) if masked else None


@pytest.mark.parametrize("device, dtype, width, value_size, length, masked, reason", REFUSALS)
def test_what_cannot_be_fused_is_refused_by_name_and_not_chosen(
    device, dtype, width, value_size, length, masked, reason, monkeypatch
):
    given = inputs(dtype, width, value_size, length, masked)
    pretend(monkeypatch, device)
    with pytest.raises(ValueError, match=f"mixer dense: kernel 'fused' {reason}; choose 'auto', 'chunked' or 'plain'"):
        mixers.build("dense", {"kernel": "fused"}).chosen(*given)
    assert mixers.build("dense", {}).chosen(*given) == ("chunked" if length > 1024 else "plain")


@pytest.mark.parametrize(
    "device, dtype, length, masked, kernel",
    [
        ("cpu", "float32", 1024, True, "plain"),
        ("cpu", "float32", 1025, True, "chunked"),
        ("gpu", "bfloat16", 300, True, "fused"),
        ("gpu", "bfloat16", 2048, False, "fused"),
        ("gpu", "float32", 2048, False, "chunked"),
        ("TPU v4", "bfloat16", 2048, True, "fused"),
        ("TPU v4", "float32", 2048, True, "fused"),
        ("TPU v4", "bfloat16", 300, True, "plain"),
    ],
)
def test_the_device_chooses(device, dtype, length, masked, kernel, monkeypatch):
    given = inputs(dtype, 64, 64, length, masked)
    pretend(monkeypatch, device)
    assert mixers.build("dense", {}).chosen(*given) == kernel
