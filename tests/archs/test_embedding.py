"""Models that read vectors or tokens: what they embed, drop and refuse."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

RNG = np.random.default_rng(0)
SEQUENCE = jnp.asarray(RNG.normal(size=(2, 9, 3)), jnp.float32)
TOKENS = jnp.asarray(RNG.integers(7, size=(2, 9)), jnp.int32)
MASK = jnp.arange(9) < jnp.array([[9], [4]])
SMALL = {
    "rnn": {"hidden_size": 4},
    "tcn": {"hidden_size": 4, "num_layers": 2},
    "convnet1d": {"hidden_sizes": (4,), "stage_sizes": (1,)},
}
every = pytest.mark.parametrize("name", SMALL)


def build(name, **fields):
    return archs.build(name, num_classes=2, **SMALL[name], **fields)


@every
def test_tokens_are_read_as_the_sequence_of_their_embeddings(name, random_variables):
    model = build(name, vocab_size=7, embedding_size=5)
    variables = random_variables(model, tokens=TOKENS, mask=MASK)
    params = dict(variables["params"])
    table = params.pop("embedding")["tokens"]["embedding"]
    assert table.shape == (7, 5)
    expected = build(name).apply({**variables, "params": params}, table[TOKENS], MASK)
    np.testing.assert_allclose(model.apply(variables, tokens=TOKENS, mask=MASK), expected, rtol=1e-6)


@every
def test_padding_changes_nothing(name, random_variables):
    model = build(name, vocab_size=7)
    variables = random_variables(model, tokens=TOKENS)
    apply = jax.jit(model.apply)
    together = apply(variables, tokens=TOKENS, mask=MASK)
    other = apply(variables, tokens=jnp.where(MASK, TOKENS, 6 - TOKENS), mask=MASK)
    np.testing.assert_array_equal(other, together)
    np.testing.assert_allclose(apply(variables, tokens=TOKENS[1:, :4])[0], together[1], rtol=1e-5, atol=1e-6)


@every
def test_embeddings_are_as_wide_as_the_first_layer_unless_said(name):
    variables = jax.eval_shape(lambda: build(name, vocab_size=7).init(jax.random.key(0), tokens=TOKENS))
    assert variables["params"]["embedding"]["tokens"]["embedding"].shape == (7, 4)


@every
@pytest.mark.parametrize(
    "fields, inputs, message",
    [
        (
            {"vocab_size": 7},
            {"sequence": SEQUENCE},
            "vocab_size is 7, so the input must be tokens alone, and it is sequence; give tokens, or leave out vocab_",
        ),
        (
            {},
            {"tokens": TOKENS},
            "vocab_size is None, so the input must be sequence alone, and it is tokens; give sequence, or set vocab_",
        ),
        (
            {"vocab_size": 7},
            {"sequence": SEQUENCE, "tokens": TOKENS},
            "alone, and it is sequence and tokens;",
        ),
        ({}, {"mask": MASK}, "vocab_size is None, so the input must be sequence alone, and it is missing;"),
        (
            {"embedding_size": 5},
            {"sequence": SEQUENCE},
            "embedding_size is 5, and vocab_size is missing; give both or neither",
        ),
    ],
    ids=["vectors", "tokens", "both", "nothing", "width"],
)
def test_what_the_fields_do_not_say_is_refused(name, fields, inputs, message):
    with pytest.raises(ValueError, match=f"^{name}: .*{message}") as error:
        jax.eval_shape(lambda: build(name, **fields).init(jax.random.key(0), **inputs))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["rnn", "tcn"])
def test_no_gradient_from_later_tokens(name, random_variables):
    """A causal model says so, and its outputs change with no later token."""
    model = build(name, vocab_size=7, outputs="all")
    assert model.causal
    variables = random_variables(model, tokens=TOKENS)
    outputs = model.apply(variables, tokens=TOKENS)
    changed = model.apply(variables, tokens=TOKENS.at[:, 5].set((TOKENS[:, 5] + 1) % 7))
    differs = np.abs(outputs - changed).max(axis=(0, 2)) > 0
    np.testing.assert_array_equal(differs, np.arange(9) >= 5)
