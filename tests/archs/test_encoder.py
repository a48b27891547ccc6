"""The classifier of the Long Range Arena: padding, two towers, and sizes of both sources."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs.encoder import Tower

SMALL = {"vocab_size": 10, "max_length": 12, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 12}
SMALL |= {"dropout_rate": 0.0}
OPTIONS = {"activation": "relu", "norm_epsilon": 1e-5, "mixer": "dense", "mixer_kwargs": {"dropout_rate": 0.1}}
CASES = {
    "cls": {**SMALL, "attention_dropout_rate": 0.1},
    "mean": {
        **SMALL,
        **OPTIONS,
        "num_layers": 2,
        "positions": "learned",
        "pool": "mean",
        "key_size": 3,
        "value_size": 5,
        "scan_layers": True,
        "remat": "full",
    },
    "two": {**SMALL, "tower": "two", "positions": "none"},
    "two-concat": {**SMALL, "tower": "two", "interaction": "none", "pool": "first"},
}
RNG = np.random.default_rng(0)
INPUTS = {
    "tokens": RNG.integers(10, size=(3, 9)).astype(np.int32),
    "mask": np.arange(9) < np.array([[9], [5], [1]]),
}
PAIR = {
    **INPUTS,
    "tokens_2": RNG.integers(10, size=(3, 12)).astype(np.int32),
    "mask_2": np.arange(12) < np.array([[4], [12], [2]]),
}
OTHER_INPUTS = {"two": PAIR, "two-concat": PAIR}


def blocks(layers: int, width: int, mlp: int, inner: int | None = None) -> int:
    """Parameters of blocks whose attention has no biases, with q, k and v `inner` wide in all heads together."""
    return layers * (4 * width * (inner or width) + 2 * mlp * width + mlp + width + 4 * width)


def classifier(inputs: int, mlp: int, classes: int, *, two: bool = False) -> int:
    inner = (inputs + 1) * mlp
    return inner + ((mlp + 1) * (mlp // 2) + (mlp // 2 + 1) * classes if two else (mlp + 1) * classes)


# Of each variant: tokens, inputs of one length, classes, blocks, what else is around them, and the classifier.
SHAPES = {
    "listops": (17, 10, blocks(6, 512, 2048), 512, classifier(512, 2048, 10)),
    "listops-release": (17, 10, blocks(4, 512, 1024), 512, classifier(512, 1024, 10)),
    "text": (260, 2, blocks(6, 512, 2048), 512, classifier(512, 2048, 2)),
    "text-release": (260, 2, blocks(4, 256, 1024), 256, classifier(256, 1024, 2)),
    "retrieval": (260, 2, blocks(4, 128, 512), 128, classifier(4 * 128, 512, 2, two=True)),
    "retrieval-release": (260, 2, blocks(4, 128, 512), 0, classifier(2 * 128, 512, 2, two=True)),
    "image": (256, 10, blocks(3, 64, 128), 64 + 1025 * 64, classifier(64, 128, 10)),
    "image-release": (256, 10, blocks(1, 128, 128, 64), 128 + 1025 * 128, classifier(128, 128, 10)),
    "pathfinder": (256, 2, blocks(4, 128, 128), 0, classifier(128, 128, 2)),
    "pathfinder-release": (256, 2, blocks(4, 32, 32, 16), 0, classifier(32, 32, 2)),
}
WIDTHS = {name: fields["hidden_size"] for name, fields in archs.variants("encoder").items()}
TEXT = jax.ShapeDtypeStruct((1000,), "int32")
COUNTS = [
    (
        {"variant": name, "vocab_size": words, "num_classes": classes},
        words * WIDTHS[name] + around + in_blocks + 2 * WIDTHS[name] + in_classifier,
        {"tokens": TEXT, **({"tokens_2": TEXT} if name.startswith("retrieval") else {})},
    )
    for name, (words, classes, in_blocks, around, in_classifier) in SHAPES.items()
]
ARRAYS = {name: jnp.asarray(value) for name, value in PAIR.items()}
ONE = {name: ARRAYS[name] for name in ("tokens", "mask")}


@pytest.mark.parametrize(
    "variant, millions", [("listops", 18.90), ("listops-release", 8.40), ("text-release", 3.15), ("retrieval", 0.79)]
)
def test_sizes_that_the_benchmark_is_quoted_with_are_those_of_the_blocks(variant, millions):
    model = archs.build("encoder", variant=variant, vocab_size=30, num_classes=2)
    text = jax.ShapeDtypeStruct((1, 50), jnp.int32)
    inputs = {"tokens": text, **({"tokens_2": text} if model.tower == "two" else {})}
    params = jax.eval_shape(lambda x: model.init(jax.random.key(0), **x), inputs)["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(params["encoder"]["blocks"]))
    assert count == SHAPES[variant][2]
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize("case", CASES)
def test_padding_changes_nothing(case, random_variables):
    model = archs.build("encoder", num_classes=3, **CASES[case])
    inputs = ARRAYS if model.tower == "two" else ONE
    variables = random_variables(model, **inputs)
    apply = jax.jit(lambda inputs: model.apply(variables, **inputs))
    together = apply(inputs)
    spoiled = dict(inputs)
    for tokens, mask in (("tokens", "mask"), ("tokens_2", "mask_2")):
        if tokens in inputs:
            spoiled[tokens] = jnp.where(inputs[mask], inputs[tokens], 9 - inputs[tokens])
    np.testing.assert_array_equal(apply(spoiled), together)
    alone = {"tokens": inputs["tokens"][1:2, :5]}
    if model.tower == "two":
        alone["tokens_2"] = inputs["tokens_2"][1:2]
    np.testing.assert_allclose(apply(alone)[0], together[1], rtol=1e-5, atol=1e-5)


def test_towers_are_one_encoder_and_see_their_own_text_only(random_variables):
    """The classifier reads x, y, x y and x - y of what one tower makes of each text."""
    model = archs.build("encoder", num_classes=None, tower="two", **SMALL)
    texts = ARRAYS["tokens"], ARRAYS["tokens_2"][:, :7]
    variables = random_variables(model, texts[0], tokens_2=texts[1])

    @jax.jit
    def run(first, second):
        outputs, kept = model.apply(
            variables, first, tokens_2=second, capture_intermediates=lambda module, _: isinstance(module, Tower)
        )
        return outputs, kept["intermediates"]["encoder"]["__call__"]

    outputs, (x, y) = run(*texts)
    _, swapped = run(*texts[::-1])
    np.testing.assert_allclose(swapped, (y, x), rtol=1e-5, atol=1e-6)
    expected = np.concatenate([x, y, x * y, x - y], axis=-1)
    for number in (0, 1):
        layer = jax.tree.map(np.asarray, variables["params"][f"classifier_{number}"])
        expected = np.maximum(expected @ layer["kernel"] + layer["bias"], 0)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "fields, inputs, message",
    [
        ({"num_heads": 3}, ONE, "hidden_size=8 is not divisible by num_heads=3"),
        ({"tower": "two"}, ONE, "tower='two' reads tokens and tokens_2, and there are no tokens_2; give pairs"),
        ({}, ARRAYS, "tower='one' reads tokens only, and tokens_2 are given; set it to 'two'"),
        ({"interaction": "nli"}, ONE, "interaction goes with tower='two' only; leave it out"),
        ({"max_length": 8}, ONE, "the input has 9 tokens, and max_length is 8; shorten the input or raise max_length"),
        ({"tower": "two", "max_length": 11}, ARRAYS, "the input has 12 tokens, and max_length is 11;"),
    ],
)
def test_mistakes_are_named(fields, inputs, message):
    model = archs.build("encoder", num_classes=3, **{**SMALL, **fields})
    with pytest.raises(ValueError, match=f"encoder: {message}") as error:
        jax.eval_shape(lambda: model.init(jax.random.key(0), **inputs))
    assert "\n" not in str(error.value)
