"""Sequence to sequence: what the decoder may see, alignments, and writing token by token."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

SIZES = {"source_vocab_size": 7, "target_vocab_size": 6, "hidden_size": 8, "embedding_size": 5}
CASES = {
    "cho": {**SIZES, "attention": "none", "summary_every_step": True, "maxout_size": 4, "start_token": 1},
    "sutskever": {
        **SIZES,
        "cell": "lstm",
        "num_layers": 2,
        "attention": "none",
        "initial_state": "copy",
        "reverse_source": True,
    },
    "bahdanau": {**SIZES, "attention": "additive", "bidirectional": True, "alignment_size": 4, "maxout_size": 4},
    "luong": {**SIZES, "cell": "lstm", "attention": "concat", "input_feeding": True},
}
RNG = np.random.default_rng(0)
LENGTHS = np.array([5, 3])
INPUTS = {
    "source": RNG.integers(7, size=(2, 5)).astype(np.int32),
    "target": RNG.integers(6, size=(2, 4)).astype(np.int32),
    "source_mask": np.arange(5)[None] < LENGTHS[:, None],
}
COUNTS = [
    # Word vectors, 4 layers of 4·(1000·1000 + 1000·1000 + 1000) in encoder and decoder each, and the logits.
    (
        {"variant": "sutskever", "source_vocab_size": 160_000, "target_vocab_size": 80_000},
        240_000_000 + 2 * 4 * 8_004_000 + 80_080_000,
    ),
]
BATCH = {name: jnp.asarray(value) for name, value in INPUTS.items()}
VARIED = {
    **CASES,
    "dot": {**SIZES, "cell": "simple", "attention": "dot"},
    "general": {**SIZES, "attention": "general", "bidirectional": True, "dropout_rate": 0.5},
}
varied = pytest.mark.parametrize("name", VARIED)


@pytest.fixture(scope="module")
def built():
    return {}


@pytest.fixture
def model(name, built, random_variables):
    """Model and variables."""
    if name not in built:
        model = archs.build("seq2seq", **VARIED[name])
        built[name] = model, random_variables(model, **BATCH)
    return built[name]


@varied
def test_a_token_is_predicted_from_those_before_it(model):
    module, variables = model
    apply = jax.jit(module.apply)
    before = apply(variables, **BATCH)
    for place in range(4):
        target = INPUTS["target"].copy()
        target[:, place] = (target[:, place] + 1) % 6
        changed = np.abs(apply(variables, **{**BATCH, "target": jnp.asarray(target)}) - before).max(axis=(0, 2)) > 0
        np.testing.assert_array_equal(changed, np.arange(4) > place)


@varied
def test_padding_of_the_source_changes_nothing(model):
    module, variables = model
    apply = jax.jit(module.apply)
    together = apply(variables, **BATCH)
    for row, length in enumerate(LENGTHS):
        alone = apply(variables, BATCH["source"][row : row + 1, :length], BATCH["target"][row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-4, atol=1e-5)


@varied
def test_every_source_token_matters(model):
    module, variables = model
    apply = jax.jit(module.apply)
    before = apply(variables, **BATCH)
    for place in range(5):
        source = INPUTS["source"].copy()
        source[:, place] = (source[:, place] + 1) % 7
        changed = np.abs(apply(variables, **{**BATCH, "source": jnp.asarray(source)}) - before).max(axis=(1, 2)) > 0
        np.testing.assert_array_equal(changed, place < LENGTHS)


@varied
@pytest.mark.parametrize("parts", [(1, 1, 1, 1), (2, 2)])
def test_token_by_token_equals_all_at_once(model, parts):
    module, variables = model
    expected = jax.jit(module.apply)(variables, **BATCH)
    extend = jax.jit(functools.partial(module.apply, decode=True, mutable=["cache"]))
    tokens = jnp.pad(BATCH["target"], ((0, 0), (1, 0)), constant_values=module.start_token)
    cache, place = {}, 0
    for part in parts:
        given = (BATCH["source"], BATCH["source_mask"]) if place == 0 else (None, None)
        logits, changed = extend({**variables, **cache}, given[0], tokens[:, place : place + part], given[1])
        np.testing.assert_allclose(logits, expected[:, place : place + part], rtol=1e-4, atol=1e-5)
        cache, place = changed, place + part


@pytest.mark.parametrize("name", ["bahdanau", "luong", "dot", "general"])
def test_alignments_are_weights_of_real_tokens(model):
    module, variables = model
    _, sown = jax.jit(lambda v: module.apply(v, **BATCH, mutable=["intermediates"]))(variables)
    (weights,) = sown["intermediates"]["alignment"]
    assert weights.shape == (2, 4, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal((weights > 0).all(axis=1), BATCH["source_mask"])


def test_a_fixed_context_is_all_that_the_decoder_gets(random_variables):
    """Without attention, memory has the size of the state however long the source is."""
    model = archs.build("seq2seq", **VARIED["sutskever"])
    variables = random_variables(model, **BATCH)
    memory, carry = model.apply(variables, BATCH["source"], method="encode")
    blank = memory._replace(states=jnp.zeros_like(memory.states), summary=jnp.zeros_like(memory.summary))
    decode = lambda memory: model.apply(variables, memory, carry, BATCH["target"], method="decode")[1]  # noqa: E731
    np.testing.assert_array_equal(decode(memory), decode(blank))


def test_reversing_the_source_is_reading_it_backwards(random_variables):
    reverse = archs.build("seq2seq", **VARIED["sutskever"])
    variables = random_variables(reverse, **BATCH)
    forward = reverse.clone(reverse_source=False)
    source = BATCH["source"]
    np.testing.assert_allclose(
        reverse.apply(variables, source, BATCH["target"]),
        forward.apply(variables, source[:, ::-1], BATCH["target"]),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"initial_state": "copy", "bidirectional": True}, "initial_state='copy' needs bidirectional=False"),
        ({"attention": "dot", "summary_every_step": True}, "summary_every_step goes with attention='none' only"),
        ({"attention": "dot", "alignment_size": 4}, "alignment_size goes with attention='additive' or 'concat'"),
        ({"attention": "none", "input_feeding": True}, "input_feeding goes with attention='dot', 'general'"),
        ({"attention": "general", "maxout_size": 4}, "maxout_size goes with attention='none' or 'additive'"),
        ({"attention": "dot", "bidirectional": True}, "attention='dot' needs encoder states as wide as .* 8, .* 16"),
        ({"start_token": 6}, "start_token is 6, which must be from 0 to 5"),
    ],
)
def test_contradictions_are_named(fields, message):
    model = archs.build("seq2seq", **SIZES, **fields)
    with pytest.raises(ValueError, match=f"seq2seq: {message}") as error:
        jax.eval_shape(lambda: model.init(jax.random.key(0), **BATCH))
    assert "\n" not in str(error.value)
