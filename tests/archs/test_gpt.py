"""GPT: sizes, what a position may see, padding on either side, heads, and writing token by token."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs.layers import mixers
from archs.layers.stack import stack_layers

SIZES = {"vocab_size": 11, "max_length": 6, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_size": 32}
CASES = {
    "gpt2": {**SIZES, "num_classes": None},
    "gpt1": {
        **SIZES,
        "head": "sequence",
        "predicts_tokens": True,
        "num_layers": 2,
        "norm": "post",
        "norm_epsilon": 1e-6,
        "activation": "gelu",
        "mixer": "dense",
        "mixer_kwargs": {"dropout_rate": 0.0},
        "scan_layers": True,
        "remat": "full",
    },
}
LENGTHS = np.array([[6], [4]])
INPUTS = {
    "tokens": np.random.default_rng(0).integers(11, size=(2, 6)).astype(np.int32),
    "mask": np.arange(6)[None] >= 6 - LENGTHS,
}
COUNTS = [
    ({"variant": variant}, count)
    for variant, count in {
        "gpt1": 116_534_784,
        "gpt2": 124_439_808,
        "gpt2-medium": 354_823_168,
        "gpt2-large": 774_030_080,
        "gpt2-xl": 1_557_611_200,
    }.items()
]
TOKENS, MASK = (jnp.asarray(INPUTS[name]) for name in ("tokens", "mask"))
norms = pytest.mark.parametrize("norm", ["pre", "post"])


def shapes_of(model):
    return jax.eval_shape(model.init, jax.random.key(0), TOKENS)["params"]


def size_of(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_parts_of_gpt1_have_the_sizes_of_its_paper():
    """Section 4.1: 12 layers of 768 wide states and 12 heads, perceptrons of 3072, 512 positions, GELU."""
    params = shapes_of(archs.build("gpt", variant="gpt1"))
    assert set(params) == {"embedding", "positions", "blocks"}
    assert {size_of(layer) for layer in params["blocks"].values()} == {7_087_872}
    assert jax.tree.leaves(params["positions"])[0].shape == (512, 768)


@norms
def test_only_pre_norm_normalises_at_the_end(norm):
    assert ("norm" in shapes_of(archs.build("gpt", **SIZES, norm=norm))) == (norm == "pre")


@norms
def test_a_token_changes_no_logits_before_it(norm, random_variables):
    model = archs.build("gpt", **SIZES, norm=norm)
    variables = random_variables(model, TOKENS)
    apply = jax.jit(model.apply)
    before = apply(variables, TOKENS)
    for place in range(6):
        changed = apply(variables, TOKENS.at[:, place].set((TOKENS[:, place] + 1) % 11))
        np.testing.assert_array_equal(np.abs(changed - before).max(axis=(0, 2)) > 0, np.arange(6) >= place)


@pytest.mark.parametrize(
    "norm, head, side",
    [("pre", "language_model", "left"), ("pre", "sequence", "left"), ("post", "sequence", "right")],
)
def test_padding_changes_nothing(norm, head, side, random_variables):
    num_classes = None if head == "language_model" else 3
    model = archs.build("gpt", **SIZES, norm=norm, head=head, num_classes=num_classes)
    variables = random_variables(model, TOKENS)
    apply = jax.jit(model.apply)
    mask = MASK if side == "left" else MASK[:, ::-1]
    together = apply(variables, TOKENS, mask)
    for row in range(2):
        alone = apply(variables, TOKENS[row : row + 1][:, mask[row]])[0]
        mine = together[row] if head == "sequence" else together[row][mask[row]]
        np.testing.assert_allclose(mine, alone, rtol=1e-4, atol=1e-5)
    garbage = jnp.where(mask, TOKENS, 7)
    real = np.ones(2, bool) if head == "sequence" else mask
    np.testing.assert_array_equal(apply(variables, garbage, mask)[real], together[real])


def test_classifiers_of_sequences_have_no_bias():
    """Radford et al., 2018, eq. 3."""
    heads = {head: archs.build("gpt", **SIZES, head=head, num_classes=3) for head in ("sequence", "tokens")}
    shapes = {head: jax.tree.map(jnp.shape, shapes_of(model)["head"]) for head, model in heads.items()}
    assert shapes == {"sequence": {"kernel": (16, 3)}, "tokens": {"kernel": (16, 3), "bias": (3,)}}


def test_a_classifier_may_predict_tokens_besides_in_training(random_variables):
    """Radford et al., 2018, eq. 5."""
    fields = {**SIZES, "head": "sequence", "num_classes": 3, "dropout_rate": 0.0}
    model = archs.build("gpt", **fields, predicts_tokens=True)
    variables = random_variables(model, TOKENS)
    assert shapes_of(model) == shapes_of(archs.build("gpt", **fields))
    classes, sown = model.apply(variables, TOKENS, MASK, train=True, mutable=["auxiliary"])
    shared = {"params": {name: values for name, values in variables["params"].items() if name != "head"}}
    logits = archs.build("gpt", **SIZES).apply(shared, TOKENS, MASK)
    np.testing.assert_allclose(sown["auxiliary"]["tokens"][0], logits, rtol=1e-5, atol=1e-6)
    evaluated, sown = model.apply(variables, TOKENS, MASK, mutable=["auxiliary"])
    np.testing.assert_allclose(evaluated, classes, rtol=1e-5, atol=1e-6)
    assert not sown


def test_kernels_start_with_the_deviations_of_the_papers():
    """0.02 (Radford et al., 2018, section 4.1), and at the end of each branch of GPT-2 less, by 1/√(2L)."""
    sizes = {"vocab_size": 100, "hidden_size": 64, "num_layers": 2, "num_heads": 4, "mlp_size": 256}
    model = archs.build("gpt", **sizes, head="tokens", num_classes=64)
    quickly = {"xla_backend_optimization_level": 0}
    params = jax.jit(model.init, compiler_options=quickly)(jax.random.key(0), TOKENS)["params"]
    layer = params["blocks"]["layer_0"]
    wanted = {"query": 0.02, "output": 0.01, "inner": 0.02, "outer": 0.01}
    found = {name: layer[part][name]["kernel"] for part in ("attention", "mlp") for name in layer[part]}
    assert {name: float(np.std(found[name])) for name in wanted} == pytest.approx(wanted, rel=0.05)
    assert float(np.std(params["head"]["kernel"])) == pytest.approx(0.02, rel=0.05)


def test_logits_are_products_with_the_embedding(random_variables):
    model, headless = (archs.build("gpt", **SIZES, head=head) for head in ("language_model", "none"))
    variables = random_variables(model, TOKENS)
    features = jax.jit(headless.apply)(variables, TOKENS)
    assert features.shape == (2, 6, 16)
    expected = np.einsum("btd,vd->btv", features, variables["params"]["embedding"]["embedding"])
    np.testing.assert_allclose(jax.jit(model.apply)(variables, TOKENS), expected, rtol=1e-4, atol=1e-5)


def test_logits_of_a_half_precision_model_are_not_rounded(random_variables):
    model = archs.build("gpt", **SIZES, dtype="bfloat16")
    logits = jax.jit(model.apply)(random_variables(model, TOKENS), TOKENS)
    assert not np.array_equal(logits, logits.astype(jnp.bfloat16).astype(jnp.float32))


def empty_cache(model):
    made = jax.eval_shape(lambda: model.init(jax.random.key(0), TOKENS, decode=True))["cache"]
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), made)


@pytest.mark.parametrize(
    "fields, parts",
    [
        ({}, (1,) * 6),
        ({"norm": "post"}, (4, 1, 1)),
        ({"num_layers": 2, "scan_layers": True}, (2, 4)),
    ],
)
def test_token_by_token_equals_all_at_once(fields, parts, random_variables):
    """Rows of different lengths, padded on the left, so that the next token has the same place in all of them."""
    model = archs.build("gpt", **{**SIZES, **fields})
    variables = random_variables(model, TOKENS)
    expected = jax.jit(model.apply)(variables, TOKENS, MASK)
    apply = jax.jit(functools.partial(model.apply, decode=True, mutable=["cache"]))
    cache, start = empty_cache(model), 0
    for part in parts:
        now = slice(start, start + part)
        logits, changed = apply({**variables, "cache": cache}, TOKENS[:, now], MASK[:, now])
        real = MASK[:, now]
        np.testing.assert_allclose(logits[real], expected[:, now][real], rtol=1e-4, atol=1e-5)
        cache, start = changed["cache"], start + part
    np.testing.assert_array_equal(cache["length"], LENGTHS[:, 0])


def test_a_cache_begins_empty():
    made = jax.jit(lambda: archs.build("gpt", **SIZES).init(jax.random.key(0), TOKENS, MASK, decode=True))()
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(made["cache"]))


def test_new_tokens_of_padded_prompts_need_no_mask(random_variables):
    model = archs.build("gpt", **SIZES)
    variables = random_variables(model, TOKENS)
    expected = jax.jit(model.apply)(variables, TOKENS, MASK)
    apply = jax.jit(functools.partial(model.apply, decode=True, mutable=["cache"]))
    _, changed = apply({**variables, "cache": empty_cache(model)}, TOKENS[:, :5], MASK[:, :5])
    logits, _ = apply({**variables, **changed}, TOKENS[:, 5:])
    np.testing.assert_allclose(logits[:, 0], expected[:, 5], rtol=1e-4, atol=1e-5)


def test_scanned_equals_looped(random_variables):
    looped, scanned = (archs.build("gpt", **{**SIZES, "num_layers": 3}, scan_layers=scan) for scan in (False, True))
    variables = random_variables(looped, TOKENS)
    params = variables["params"]
    stacked = {"params": {**params, "blocks": stack_layers(params["blocks"])}}
    np.testing.assert_allclose(
        jax.jit(scanned.apply)(stacked, TOKENS, MASK),
        jax.jit(looped.apply)(variables, TOKENS, MASK),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "fields, rate",
    [
        ({"dropout_rate": 0.5}, 0.5),
        ({"dropout_rate": 0.5, "mixer_kwargs": {"dropout_rate": None}}, 0.5),
        ({"dropout_rate": 0.5, "mixer_kwargs": {"dropout_rate": 0.0}}, 0.0),
        ({"dropout_rate": 0.0, "mixer_kwargs": {"dropout_rate": 0.25}}, 0.25),
    ],
)
def test_attention_weights_are_dropped_too_unless_the_mixer_says_otherwise(fields, rate):
    model = archs.build("gpt", **SIZES, **fields)
    assert mixers.with_dropout(model.mixer, model.mixer_kwargs, model.dropout_rate)["dropout_rate"] == rate


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"num_heads": 3}, "gpt: hidden_size=16 is not divisible by num_heads=3"),
        ({"head": "sequence"}, "gpt: num_classes is None with head='sequence'; give it with head='sequence' and"),
        ({"num_classes": 3}, "gpt: num_classes is 3 with head='language_model'; .* and with no other"),
        ({"predicts_tokens": True}, "gpt: predicts_tokens=True is for head='sequence', not 'language_model'"),
        ({"max_length": 5}, "positions: the input has 6 tokens, and max_length is 5"),
    ],
)
def test_mistakes_are_named(fields, message):
    model = archs.build("gpt", **{**SIZES, **fields})
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(model.init, jax.random.key(0), TOKENS)
    assert "\n" not in str(error.value)


def test_a_variant_gives_the_vocabulary_and_nothing_else_does():
    assert archs.build("gpt", variant="gpt2").vocab_size == 50_257
    with pytest.raises(ValueError, match="gpt: field 'vocab_size' is required"):
        archs.build("gpt")
