"""Transformer: the sizes of Table 3, what each position may see, and writing token by token."""

import functools

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

import archs
from archs.layers.stack import stack_layers

SIZES = {"source_vocab_size": 9, "target_vocab_size": 9, "hidden_size": 16, "num_heads": 2, "mlp_size": 32}
CASES = {
    "base": {**SIZES, "num_layers": 1},
    "pre": {
        **SIZES,
        "target_vocab_size": 7,
        "num_layers": 2,
        "key_size": 4,
        "norm": "pre",
        "norm_epsilon": 1e-5,
        "activation": "gelu",
        "tied": "output",
        "positions": "learned",
        "max_length": 6,
        "start_token": 2,
        "mixer": "dense",
        "mixer_kwargs": {"dropout_rate": 0.1},
        "decoder_mixer": "dense",
        "decoder_mixer_kwargs": {"dropout_rate": 0.2},
        "scan_layers": True,
        "remat": "full",
    },
    "untied": {**SIZES, "num_layers": 1, "tied": "none", "positions": "none"},
}
RNG = np.random.default_rng(0)
LENGTHS = np.array([6, 3])
INPUTS = {
    "source": RNG.integers(9, size=(2, 6)).astype(np.int32),
    "target": RNG.integers(7, size=(2, 5)).astype(np.int32),
    "source_mask": np.arange(6)[None] < LENGTHS[:, None],
}
VOCABULARY = {"source_vocab_size": 37_000, "target_vocab_size": 37_000}
COUNTS = [
    ({"variant": "base", **VOCABULARY}, 63_045_632),
    ({"variant": "big", **VOCABULARY}, 214_171_648),
]
BATCH = {name: jnp.asarray(value) for name, value in INPUTS.items()}
cases = pytest.mark.parametrize("name", CASES)


def count(**fields) -> int:
    model = archs.build("transformer", **{**VOCABULARY, **fields})
    x = jax.ShapeDtypeStruct((1, 4), jnp.int32)
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), x, x)["params"]))


@pytest.mark.parametrize(
    "row, fields, millions",
    [
        ("A", {"num_heads": 1, "key_size": 512}, 63.0),
        ("A", {"num_heads": 32}, 63.0),
        ("B", {"key_size": 16}, 56.0),
        ("B", {"key_size": 32}, 58.3),
        ("C", {"num_layers": 2}, 33.6),
        ("C", {"num_layers": 4}, 48.3),
        ("C", {"num_layers": 8}, 77.7),
        ("C", {"hidden_size": 256}, 26.8),
        ("C", {"hidden_size": 1024}, 163.8),
        ("C", {"mlp_size": 1024}, 50.5),
        ("C", {"mlp_size": 4096}, 88.2),
    ],
)
def test_rows_of_table_3_are_fields(row, fields, millions):
    """Sizes of blocks and one vocabulary of 37,000, which the paper's printed sizes differ from by a constant."""
    assert count(**fields) / 1e6 == pytest.approx(millions, abs=0.06)


def test_a_pair_of_layers_has_the_size_that_table_3_says():
    """Rows C: 7.35 million for each pair of an encoder and a decoder layer."""
    assert (count() - count(num_layers=4)) / 2 / 1e6 == pytest.approx(7.35, abs=0.01)
    assert count(positions="learned", max_length=100) - count() == 2 * 100 * 512  # row E


@pytest.fixture
def model(name, random_variables):
    model = archs.build("transformer", **CASES[name])
    return model, random_variables(model, **BATCH)


@cases
def test_a_token_is_predicted_from_those_before_it(model):
    module, variables = model
    apply = jax.jit(module.apply)
    before = apply(variables, **BATCH)
    for place in range(5):
        target = BATCH["target"].at[:, place].set((BATCH["target"][:, place] + 1) % 7)
        changed = np.abs(apply(variables, **{**BATCH, "target": target}) - before).max(axis=(0, 2)) > 0
        np.testing.assert_array_equal(changed, np.arange(5) > place)


@cases
def test_padding_of_the_source_changes_nothing(model):
    module, variables = model
    apply = jax.jit(module.apply)
    together = apply(variables, **BATCH)
    for row, length in enumerate(LENGTHS):
        alone = apply(variables, BATCH["source"][row : row + 1, :length], BATCH["target"][row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-4, atol=1e-5)


@cases
@pytest.mark.parametrize("parts", [(1, 1, 1, 1, 1), (2, 3)])
def test_token_by_token_equals_all_at_once(model, parts):
    module, variables = model
    expected = jax.jit(module.apply)(variables, **BATCH)
    start = functools.partial(module.init, jax.random.key(0), BATCH["source"], BATCH["target"], decode=True)
    cache = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(start)["cache"])
    extend = jax.jit(functools.partial(module.apply, decode=True, mutable=["cache"]))
    tokens = jnp.pad(BATCH["target"], ((0, 0), (1, 0)), constant_values=module.start_token)
    place = 0
    for part in parts:
        given = (BATCH["source"], BATCH["source_mask"]) if place == 0 else (None, None)
        new = tokens[:, place : place + part]
        logits, changed = extend({**variables, "cache": cache}, given[0], new, given[1])
        np.testing.assert_allclose(logits, expected[:, place : place + part], rtol=1e-4, atol=1e-5)
        cache, place = changed["cache"], place + part


def test_logits_of_a_half_precision_model_are_not_rounded(random_variables):
    model = archs.build("transformer", **CASES["base"], dtype="bfloat16")
    logits = jax.jit(model.apply)(random_variables(model, **BATCH), **BATCH)
    assert not np.array_equal(logits, logits.astype(jnp.bfloat16).astype(jnp.float32))


def test_scanned_equals_looped(random_variables):
    fields = {**CASES["base"], "num_layers": 3}
    looped, scanned = (archs.build("transformer", **fields, scan_layers=scan) for scan in (False, True))
    variables = random_variables(looped, **BATCH)
    params = variables["params"]
    stacked = {**params, "encoder": stack_layers(params["encoder"]), "decoder": stack_layers(params["decoder"])}
    np.testing.assert_allclose(
        jax.jit(scanned.apply)({"params": stacked}, **BATCH),
        jax.jit(looped.apply)(variables, **BATCH),
        rtol=1e-4,
        atol=1e-5,
    )


def test_dropout_takes_outputs_of_branches_and_no_inner_units():
    """Section 5.4 of the paper; a GELU leaves no zeros of its own."""
    model = archs.build("transformer", **{**CASES["base"], "activation": "gelu", "dropout_rate": 0.5})
    variables = model.init(jax.random.key(0), **BATCH)
    _, sown = model.apply(
        variables,
        **BATCH,
        train=True,
        rngs={"dropout": jax.random.key(1)},
        capture_intermediates=lambda module, _: isinstance(module, nn.Dropout),
    )
    dropped = {jax.tree_util.keystr(path): np.mean(x == 0) for path, x in jax.tree.leaves_with_path(sown)}
    inner = {path: share for path, share in dropped.items() if "mlp" in path}
    assert len(inner) == 2 and not any(inner.values())
    assert all(share > 0.2 for path, share in dropped.items() if path not in inner and "mixer" not in path)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"target_vocab_size": 8}, "tied='all' needs one vocabulary, and there are 9 .* and 8 .*; use tied='output'"),
        ({"decoder_mixer_kwargs": {"kernel": "plain"}}, "decoder_mixer_kwargs goes with decoder_mixer; name it too"),
        ({"max_length": 8}, "max_length goes with positions='learned'"),
        ({"positions": "learned"}, "max_length goes with positions='learned', and is required there"),
        ({"num_heads": 3}, "hidden_size=16 is not divisible by num_heads=3"),
        ({"start_token": 9}, "start_token is 9, which must be from 0 to 8"),
    ],
)
def test_contradictions_are_named(fields, message):
    model = archs.build("transformer", **{**SIZES, **fields})
    with pytest.raises(ValueError, match=f"transformer: {message}") as error:
        jax.eval_shape(lambda: model.init(jax.random.key(0), **BATCH))
    assert "\n" not in str(error.value)


def test_a_source_beyond_the_learned_positions_is_refused():
    model = archs.build("transformer", **{**SIZES, "positions": "learned", "max_length": 5})
    with pytest.raises(ValueError, match="positions: the input has 6 tokens, and max_length is 5"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), **BATCH))
