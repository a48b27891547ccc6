"""What is counted and differentiated before training, against formulas and against what the model computes."""

import jax
import numpy as np
import pytest

from train.compare import subject as subjects
from train.objectives.classification import Objective as Classification

WIDTH, TOKENS, VOCABULARY = 8, 5, 7
SIZES = {"hidden_size": WIDTH, "num_layers": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def language_model():
    """A small GPT, with variables and tokens."""
    gpt = subjects.architecture(
        "gpt", {"tokens": (TOKENS,)}, **SIZES, vocab_size=VOCABULARY, mlp_size=16, max_length=TOKENS
    )
    return gpt, gpt.variables(), gpt.example(high=VOCABULARY)["tokens"]


@pytest.fixture(scope="module")
def translator():
    """A small Transformer, with variables and a source with its target."""
    transformer = subjects.architecture(
        "transformer",
        {"source": (TOKENS,), "target": (TOKENS,)},
        **SIZES,
        source_vocab_size=VOCABULARY,
        target_vocab_size=VOCABULARY,
        mlp_size=16,
    )
    return transformer, transformer.variables(), transformer.example(high=VOCABULARY)


def test_operations_of_a_part_and_of_the_rest_are_all():
    block = subjects.part("block.Block", {"x": (TOKENS, WIDTH)}, num_heads=2, mlp_size=4 * WIDTH)
    parts = {path: block.matmul_flops_inside(path) for path in ("attention/mixer", "attention", "mlp")}
    assert parts == {
        "attention/mixer": 4 * TOKENS**2 * WIDTH,
        "attention": 4 * TOKENS**2 * WIDTH + 8 * TOKENS * WIDTH**2,
        "mlp": 16 * TOKENS * WIDTH**2,
    }
    assert parts["attention"] + parts["mlp"] == block.matmul_flops
    with pytest.raises(ValueError, match="no products at 'mix'"):
        block.matmul_flops_inside("mix")


def test_training_costs_both_products_of_the_backward_pass():
    layer = subjects.layer("Dense", (4,), features=8, use_bias=False)
    forward, summed = 2 * 4 * 8, 8
    assert layer.training_flops == pytest.approx(2 * forward + summed, abs=1), "no derivative by the input is taken"
    network = subjects.architecture("mlp", {"features": (4,)}, num_classes=3, hidden_sizes=(64, 64))
    first, rest = 2 * 4 * 64, 2 * (64 * 64 + 64 * 3)
    assert network.matmul_flops == first + rest
    assert network.training_flops == pytest.approx(2 * first + 3 * rest, rel=0.05)


def test_parameters_below_a_path():
    block = subjects.part("block.Block", {"x": (TOKENS, WIDTH)}, num_heads=2, mlp_size=4 * WIDTH)
    assert block.parameters_below("attention/query/", "attention/key/") == 2 * (WIDTH**2 + WIDTH)
    assert block.parameters_below("nothing/") == 0


def test_the_exponent_of_a_power_and_of_a_sum():
    sizes = np.array([10, 20, 40, 80])
    assert subjects.exponent(sizes, 3.0 * sizes**2.5) == pytest.approx(2.5)
    assert 1 < subjects.exponent(sizes, sizes + sizes**2 / 100) < 2


def test_inside_is_what_the_next_module_reads(language_model):
    gpt, variables, tokens = language_model
    hidden = gpt.inside(variables, "norm", tokens=tokens)
    table = np.asarray(variables["params"]["embedding"]["embedding"])
    np.testing.assert_allclose(hidden @ table.T, gpt.apply(variables, tokens=tokens), atol=1e-5)
    with pytest.raises(ValueError, match="no module 'nrom'"):
        gpt.inside(variables, "nrom", tokens=tokens)


def test_support_inside_ends_where_a_causal_model_cannot_see(language_model):
    gpt, variables, tokens = language_model
    support = gpt.support_inside(variables, "positions", (slice(None), 0), tokens=tokens)
    assert support.shape == (TOKENS, TOKENS)
    np.testing.assert_array_equal(support > 0, np.tril(np.ones((TOKENS, TOKENS), bool)))
    one = gpt.support_inside(variables, "positions", (2, 0), tokens=tokens)
    np.testing.assert_allclose(one, support[2], rtol=1e-5)


def test_the_derivative_of_a_loss_by_logits_is_softmax_less_truth():
    mlp = subjects.architecture("mlp", {"features": (4,)}, num_classes=3, hidden_sizes=(8,))
    variables, features, label = mlp.variables(), mlp.example(batch=6)["features"], np.array([0, 1, 2, 2, 1, 0])
    slopes = mlp.loss_gradient(Classification(), variables, "head", {"features": features, "label": label})
    shares = jax.nn.softmax(mlp.apply(variables, features=features))
    np.testing.assert_allclose(slopes, (shares - np.eye(3)[label]) / len(label), atol=1e-6)


def test_tokens_one_by_one_give_what_all_at_once_give(language_model, translator):
    gpt, variables, tokens = language_model
    at_once = gpt.apply(variables, tokens=tokens)
    np.testing.assert_allclose(gpt.step_by_step(variables, tokens=tokens), at_once, atol=1e-5)
    transformer, variables, inputs = translator
    at_once = transformer.apply(variables, **inputs)
    np.testing.assert_allclose(transformer.step_by_step(variables, **inputs), at_once, atol=1e-5)
    other = {**inputs, "target": (inputs["target"] + 1) % VOCABULARY}
    assert np.abs(transformer.step_by_step(variables, **other) - at_once).max() > 1e-2


def test_each_word_that_is_written_takes_a_call(translator):
    transformer, variables, inputs = translator
    assert transformer.calls_to_write(variables, 3, source=inputs["source"]) == 3


def test_memory_of_all_pairs_grows_with_the_square_of_the_length():
    def attention(length):
        return subjects.part(
            "attention.MultiHeadAttention", {"x": (length, 8)}, num_heads=2, mixer_kwargs={"kernel": "plain"}
        )

    needed = {length: attention(length).memory(batch=2) for length in (128, 512)}
    assert needed[512] > 2 * 2 * 4 * 512**2, "at least one matrix of weights for each head and row"
    assert 8 < needed[512] / needed[128] < 20


def test_times_are_of_what_was_asked(monkeypatch, translator):
    """A clock that ticks when it is read, and so counts the repetitions."""
    ticks = iter(range(100))
    monkeypatch.setattr(subjects.time, "perf_counter", lambda: next(ticks))
    transformer, _, _ = translator
    assert transformer.seconds(batch=2, high=VOCABULARY, repeats=3) == 1
    assert transformer.seconds_to_write(2, high=VOCABULARY, repeats=2) == 1
    assert next(ticks) == 2 * (3 + 2)
