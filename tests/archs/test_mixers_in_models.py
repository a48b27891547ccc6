"""Every mixer in every model that attends: it computes and has gradients, or is refused before anything is computed."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs.layers import mixers
from archs.layers.attention import MultiHeadAttention
from train.flops import forward_flops

LENGTH = 16  # At least as many positions as any of the inputs below makes.
FIELDS = {
    "linformer": {"max_length": LENGTH, "projection_size": 4},
    "synthesizer": {"max_length": LENGTH},
    "bigbird": {"block_size": 2},
    "local": {"window_size": 2},
    "performer": {"num_features": 8},
}
SIZES = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 8}
TOWERS = {"image_hidden_size": 8, "num_image_layers": 1, "text_hidden_size": 8, "num_text_layers": 1, "head_size": 4}
TOKENS, IMAGE = jax.ShapeDtypeStruct((2, 7), "int32"), jax.ShapeDtypeStruct((2, 12, 12, 3), "float32")
# Fields, inputs, and the prefix of the fields that name the mixer of the part that is causal.
MODELS = {
    "encoder": ({"vocab_size": 9, "max_length": 7, "num_classes": 3, **SIZES}, {"tokens": TOKENS}, None),
    "bert": ({"vocab_size": 9, "max_length": 7, **SIZES}, {"tokens": TOKENS}, None),
    "gpt": ({"vocab_size": 9, "max_length": 7, **SIZES}, {"tokens": TOKENS}, ""),
    "vit": ({"num_classes": 3, "patch_size": 4, **SIZES}, {"image": IMAGE}, None),
    "clip": (
        {"vocab_size": 9, "max_length": 7, "embedding_size": 8, "patch_size": 4, **TOWERS},
        {"image": IMAGE, "tokens": TOKENS},
        "text_",
    ),
    "fusion": (
        {
            "fusion": "single_stream",
            "modalities": ("image", "tokens"),
            "vocab_size": 9,
            "patch_size": 6,
            "num_classes": 3,
            "hidden_sizes": (8,),
            "num_layers": 1,
            "num_heads": 2,
            "mlp_size": 8,
        },
        {"image": IMAGE, "tokens": TOKENS},
        None,
    ),
    "transformer": (
        {"source_vocab_size": 9, "target_vocab_size": 9, **SIZES},
        {"source": TOKENS, "target": TOKENS},
        "decoder_",
    ),
}


def is_able(mixer: str, what: str) -> bool:
    return what in mixers.mixer_class(mixer).honours


def shape_of_gradients(name: str, fields: dict, inputs: dict):
    model = archs.build(name, **fields)

    def gradients(key, inputs):
        variables = model.init(key, **inputs)
        rest = {collection: values for collection, values in variables.items() if collection != "params"}

        def loss(params):
            return jnp.sum(model.apply({"params": params, **rest}, **inputs))

        return variables["params"], jax.grad(loss)(variables["params"])

    return jax.eval_shape(gradients, jax.random.key(0), inputs)


@pytest.mark.parametrize("mixer", mixers.names())
@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_every_mixer_that_honours_what_it_asks(name, mixer):
    fields, inputs, causal = MODELS[name]
    fields = {**fields, "mixer": mixer, "mixer_kwargs": FIELDS.get(mixer, {})}
    if causal is not None and not is_able(mixer, "causal"):
        with pytest.raises(ValueError, match=f"mixer {mixer}: cannot honour 'causal'; mixers that can: dense, "):
            shape_of_gradients(name, fields, inputs)
        if not causal:
            return
        fields[f"{causal}mixer"] = "dense"
    params, gradients = shape_of_gradients(name, fields, inputs)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, gradients)


@pytest.mark.parametrize(
    "mixer, what",
    [
        (mixer, what)
        for mixer in mixers.names()
        for what in ("mask", "causal", "cross", "cache")
        if not is_able(mixer, what)
    ],
)
def test_what_a_mixer_does_not_honour_is_refused(mixer, what):
    x = jnp.zeros((2, 6, 8))
    given = {"mask": {"mask": jnp.ones((2, 6), bool)}, "causal": {"causal": True}, "cross": {"memory": x}}
    attention = MultiHeadAttention(num_heads=2, mixer=mixer, mixer_kwargs=FIELDS.get(mixer, {}))
    with pytest.raises(ValueError, match=f"mixer {mixer}: cannot honour '{what}'; mixers that can: "):
        jax.eval_shape(functools.partial(attention.init, **given.get(what, {"decode": True})), jax.random.key(0), x)


SIZE = 64  # The window, the block, k, and the features.
LINEAR = {
    "local": {"window_size": SIZE},
    "bigbird": {"block_size": SIZE},
    "linformer": {"projection_size": SIZE, "max_length": 64 * SIZE},
    "performer": {"num_features": SIZE},
}


@pytest.mark.parametrize("mixer, causal", [*((mixer, False) for mixer in LINEAR), ("local", True), ("performer", True)])
def test_from_sixteen_times_its_size_on_work_is_linear_and_memory_grows_no_faster(mixer, causal):
    """Of forward pass and gradient. Buffers of a fixed size are a large part of a short input's memory, so it may grow
    more slowly than length; tests of each mixer look at lengths where it does not."""
    mix = mixers.build(mixer, LINEAR[mixer])
    lengths = [16 * SIZE, 64 * SIZE]

    def costs(length):
        x = jax.ShapeDtypeStruct((2, length, 2, 64), jnp.float32)
        variables = jax.eval_shape(mix.init, jax.random.key(0), x, x, x)

        def apply(q, k, v, variables):
            return mix.apply(variables, q, k, v, **({"causal": True} if causal else {})).sum()

        gradient = jax.grad(apply, argnums=(0, 1, 2))
        memory = jax.jit(gradient).lower(x, x, x, variables).compile().memory_analysis().temp_size_in_bytes
        return forward_flops(gradient, x, x, x, variables), memory

    work, memory = np.polyfit(np.log(lengths), np.log([costs(length) for length in lengths]), 1)[0]
    assert abs(work - 1) < 0.1
    assert memory < 1.1
