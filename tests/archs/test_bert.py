"""BERT: sizes, padding, what each head reads, and the second head of pre-training."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs.layers.stack import stack_layers

SIZES = {"vocab_size": 11, "max_length": 6, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_size": 32}
CASES = {
    "masked": {**SIZES, "num_classes": None, "next_sentence": False, "pooler": False},
    "sequence": {
        **SIZES,
        "head": "sequence",
        "num_layers": 2,
        "num_types": 3,
        "norm_epsilon": 1e-6,
        "activation": "relu",
        "mixer": "dense",
        "mixer_kwargs": {"dropout_rate": 0.0},
        "scan_layers": True,
        "remat": "full",
    },
}
LENGTHS = np.array([[6], [4]])
INPUTS = {
    "tokens": np.random.default_rng(0).integers(11, size=(2, 6)).astype(np.int32),
    "mask": np.arange(6)[None] < LENGTHS,
    "token_types": np.array([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0]], np.int32),
}
POOLED, PLAIN = {"head": "none", "pooler": True}, {"head": "none"}
COUNTS = [
    *[
        ({"variant": variant, **POOLED}, count)
        for variant, count in {
            "tiny": 4_385_920,
            "mini": 11_170_560,
            "small": 28_763_648,
            "medium": 41_373_184,
            "base": 109_482_240,
            "large": 335_141_888,
        }.items()
    ],
    ({"variant": "base", **PLAIN}, 108_891_648),
    ({"variant": "large", **PLAIN}, 334_092_288),
    ({"variant": "base"}, 108_891_648 + (768 * 768 + 768) + 2 * 768 + 30_522),
    ({"variant": "base", "next_sentence": True}, 109_482_240 + (768 * 768 + 768) + 2 * 768 + 30_522 + 2 * 768 + 2),
]
BATCH = {name: jnp.asarray(value) for name, value in INPUTS.items()}


def build(**fields):
    return archs.build("bert", **{**SIZES, **fields})


def shapes_of(model):
    return jax.eval_shape(model.init, jax.random.key(0), **BATCH)["params"]


@pytest.mark.parametrize("variant, hidden_size", [("base", 768), ("large", 1024)])
def test_768_and_1024_are_the_widths_of_tokens_and_not_of_perceptrons(variant, hidden_size):
    params = shapes_of(archs.build("bert", variant=variant))
    widths = {layer["mlp"]["inner"]["kernel"].shape for layer in params["blocks"].values()}
    assert widths == {(hidden_size, 4 * hidden_size)}


def test_every_position_sees_both_sides(random_variables):
    model = build()
    variables = random_variables(model, **BATCH)
    apply = jax.jit(model.apply)
    before = apply(variables, BATCH["tokens"])
    for place in range(6):
        tokens = BATCH["tokens"].at[:, place].set((BATCH["tokens"][:, place] + 1) % 11)
        assert (np.abs(apply(variables, tokens) - before).max(axis=(0, 2)) > 0).all()


@pytest.mark.parametrize("fields", [{}, {"head": "sequence", "num_classes": 3}])
def test_padding_changes_nothing(fields, random_variables):
    model = build(**fields)
    variables = random_variables(model, **BATCH)
    apply = jax.jit(model.apply)
    together = apply(variables, **BATCH)
    garbage = jnp.where(BATCH["mask"], BATCH["tokens"], 7)
    other = apply(variables, **{**BATCH, "tokens": garbage})
    alone = apply(variables, **{name: value[1:, :4] for name, value in BATCH.items()})[0]
    if fields:
        np.testing.assert_array_equal(other, together)
        np.testing.assert_allclose(together[1], alone, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(other[BATCH["mask"]], together[BATCH["mask"]])
        np.testing.assert_allclose(together[1, :4], alone, rtol=1e-4, atol=1e-5)


def test_types_are_zero_unless_given(random_variables):
    model = build()
    variables = random_variables(model, **BATCH)
    apply = jax.jit(model.apply)
    zeros = apply(variables, BATCH["tokens"], token_types=jnp.zeros((2, 6), jnp.int32))
    np.testing.assert_array_equal(apply(variables, BATCH["tokens"]), zeros)
    assert not np.allclose(apply(variables, BATCH["tokens"], token_types=BATCH["token_types"]), zeros)


def test_the_pooler_reads_the_first_token(random_variables):
    pooled, plain, classes = build(**POOLED), build(**PLAIN), build(head="sequence", num_classes=3)
    variables = random_variables(classes, **BATCH)
    params = variables["params"]
    features = jax.jit(plain.apply)(variables, **BATCH)
    expected = np.tanh(features[:, 0] @ params["pooler"]["kernel"] + params["pooler"]["bias"][None])
    np.testing.assert_allclose(jax.jit(pooled.apply)(variables, **BATCH), expected, rtol=1e-4, atol=1e-5)
    dense = params["head"]["dense"]
    logits = expected @ dense["kernel"] + dense["bias"][None]
    np.testing.assert_allclose(jax.jit(classes.apply)(variables, **BATCH), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "fields, head", [({"head": "tokens", "num_classes": 300}, "head"), ({"next_sentence": True}, "next_sentence_head")]
)
def test_classifiers_start_with_the_deviation_of_all_matrices(fields, head):
    sizes = {"hidden_size": 256, "num_heads": 2, "mlp_size": 8}
    quickly = {"xla_backend_optimization_level": 0}
    params = jax.jit(build(**sizes, **fields).init, compiler_options=quickly)(jax.random.key(0), **BATCH)["params"]
    assert float(np.std(params[head]["dense"]["kernel"])) == pytest.approx(0.02, rel=0.1)


def test_the_matrix_of_the_vocabulary_is_that_of_the_embedding():
    params = shapes_of(build())
    assert jax.tree.map(jnp.shape, params["head"]) == {
        "dense": {"kernel": (16, 16), "bias": (16,)},
        "norm": {"scale": (16,), "bias": (16,)},
        "bias": (11,),
    }


@pytest.mark.parametrize("train", [False, True])
def test_next_sentence_logits_go_out_where_they_are_asked_for(train, random_variables):
    model, without = build(next_sentence=True, dropout_rate=0.0), build(dropout_rate=0.0)
    variables = random_variables(model, **BATCH)
    assert set(variables) == {"params"}
    apply = jax.jit(functools.partial(model.apply, train=train, mutable=["auxiliary"]))
    logits, sown = apply(variables, **BATCH)
    np.testing.assert_array_equal(logits, jax.jit(without.apply)(variables, **BATCH))
    pooled = jax.jit(build(**POOLED).apply)(variables, **BATCH)
    dense = variables["params"]["next_sentence_head"]["dense"]
    (follows,) = sown["auxiliary"]["next_sentence"]
    np.testing.assert_allclose(follows, pooled @ dense["kernel"] + dense["bias"][None], rtol=1e-4, atol=1e-5)


def test_next_sentence_logits_cost_nothing_where_they_are_not():
    variables = {"params": shapes_of(build(next_sentence=True))}
    programs = {str(jax.make_jaxpr(build(next_sentence=n).apply)(variables, **BATCH)) for n in (False, True)}
    assert len(programs) == 1


def test_scanned_equals_looped(random_variables):
    looped, scanned = (build(num_layers=3, scan_layers=scan) for scan in (False, True))
    variables = random_variables(looped, **BATCH)
    params = variables["params"]
    stacked = {"params": {**params, "blocks": stack_layers(params["blocks"])}}
    np.testing.assert_allclose(
        jax.jit(scanned.apply)(stacked, **BATCH), jax.jit(looped.apply)(variables, **BATCH), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"num_heads": 3}, "bert: hidden_size=16 is not divisible by num_heads=3"),
        ({"head": "tokens"}, "bert: num_classes is None with head='tokens'; give it with head='sequence' and"),
        ({"num_classes": 3}, "bert: num_classes is 3 with head='masked_language_model'; .* and with no other"),
        ({"head": "sequence", "num_classes": 3, "pooler": True}, "bert: pooler=True goes with head='none' only"),
        ({"pooler": True}, "bert: pooler=True goes with head='none' only, and head is 'masked_language_model'"),
        ({**PLAIN, "next_sentence": True}, "bert: next_sentence=True goes with head='masked_language_model' only"),
        ({"max_length": 5}, "positions: the input has 6 tokens, and max_length is 5"),
    ],
)
def test_mistakes_are_named(fields, message):
    model = build(**fields)
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(model.init, jax.random.key(0), **BATCH)
    assert "\n" not in str(error.value)
