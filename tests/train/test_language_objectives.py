"""Objectives of language models: which tokens count, what hides them, and that models learn by them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.core import FrozenDict
from scipy import stats

import archs
from train import objectives, optimizer, step
from train.errors import UserError
from train.mesh import MeshShape
from train.objectives import language_modeling, masked_language_modeling

RNG = np.random.default_rng(0)
VOCABULARY, MASK_TOKEN, CLS, PAD = 9, 1, 2, 0
LOGITS = jnp.asarray(RNG.normal(size=(2, 6, VOCABULARY)), jnp.float32)
TOKENS = jnp.asarray(RNG.integers(3, VOCABULARY, size=(2, 6)), jnp.int32)
MASK = jnp.asarray([[True] * 6, [False, False, True, True, True, False]])
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_size": 32, "max_length": 6}


class Given(nn.Module):
    """Gives the logits that it is given, and also sows the first two of the first token if it has a second head."""

    vocab_size: int = VOCABULARY
    next_sentence: bool = False
    causal: bool = True

    def __call__(self, tokens, logits, *, train=False):
        if self.next_sentence:
            self.sow("auxiliary", "next_sentence", logits[:, 0, :2])
        return logits


def losses(logits, label):
    return -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.asarray(label)[..., None], -1)[..., 0]


def judge(objective, batch, model=None, train=False, seed=0):
    rngs = {"mask": jax.random.key(seed)} if train else {}
    terms, *rest = objective.loss(model or Given(), {}, batch, rngs=rngs, train=train)
    return objectives.total(terms), *rest


def hidden(objective, tokens, mask=None, key=0):
    mask = jnp.ones(tokens.shape, bool) if mask is None else mask
    return objective.corrupt(tokens, mask, VOCABULARY, jax.random.key(key))


def test_each_token_is_predicted_from_the_logits_before_it():
    loss, metrics, _ = judge(language_modeling.Objective(), {"tokens": TOKENS, "logits": LOGITS})
    expected = losses(LOGITS[:, :-1], TOKENS[:, 1:])
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], (expected.sum(), 10), rtol=1e-6)
    right = np.argmax(LOGITS[:, :-1], -1) == np.asarray(TOKENS[:, 1:])
    np.testing.assert_allclose(metrics["accuracy"], (right.sum(), 10))


def test_a_token_counts_if_it_and_the_one_before_it_are_real():
    batch = {"tokens": TOKENS, "logits": LOGITS, "mask": MASK}
    _, metrics, _ = judge(language_modeling.Objective(), batch)
    counts = np.array([[True] * 5, [False, False, True, True, False]])
    expected = losses(LOGITS[:, :-1], TOKENS[:, 1:])[counts]
    np.testing.assert_allclose(metrics["loss"], (expected.sum(), 7), rtol=1e-6)
    gradient = jax.grad(lambda logits: judge(language_modeling.Objective(), batch | {"logits": logits})[0])(LOGITS)
    np.testing.assert_array_equal(np.abs(gradient[:, :-1]).max(-1) > 0, counts)
    np.testing.assert_array_equal(gradient[:, -1], 0)
    _, metrics, _ = judge(language_modeling.Objective(), batch | {"valid": jnp.asarray([True, False])})
    assert metrics["loss"][1] == 5


MASKED = masked_language_modeling.Objective(mask_token=MASK_TOKEN, special_tokens=(CLS, PAD))


def test_hidden_tokens_are_selected_and_treated_as_the_paper_says():
    """15 % of all are selected; 80 % of these are masked, 10 % random and 10 % the same: chi-square tests."""
    tokens = jnp.asarray(RNG.integers(3, VOCABULARY, size=(200, 500)), jnp.int32)
    corrupted, selected = (np.asarray(x) for x in hidden(MASKED, tokens))
    np.testing.assert_array_equal(corrupted[~selected], np.asarray(tokens)[~selected])
    share = stats.binomtest(int(selected.sum()), tokens.size, 0.15)
    assert share.pvalue > 0.001
    was, now = np.asarray(tokens)[selected], corrupted[selected]
    # A random token is each of the nine as often: by chance also the mask token, or the one that stood there.
    expected = np.array([0.8 + 0.1 / VOCABULARY, 0.1 * (VOCABULARY - 2) / VOCABULARY, 0.1 + 0.1 / VOCABULARY])
    observed = np.array([(now == MASK_TOKEN).sum(), ((now != was) & (now != MASK_TOKEN)).sum(), (now == was).sum()])
    assert stats.chisquare(observed, expected * len(now)).pvalue > 0.001
    others = now[(now != was) & (now != MASK_TOKEN)]
    kinds = np.bincount(others, minlength=VOCABULARY)
    likely = np.array([(was != kind).sum() * (kind != MASK_TOKEN) for kind in range(VOCABULARY)], float)
    kept = likely > 0
    assert stats.chisquare(kinds[kept], likely[kept] / likely.sum() * len(others)).pvalue > 0.001


def test_special_tokens_and_padding_are_never_selected():
    objective = masked_language_modeling.Objective(mask_token=MASK_TOKEN, mask_rate=1.0, special_tokens=(CLS, PAD))
    tokens = TOKENS.at[:, 0].set(CLS).at[0, 5].set(PAD)
    corrupted, selected = hidden(objective, tokens, MASK)
    expected = MASK & (tokens != CLS) & (tokens != PAD)
    np.testing.assert_array_equal(selected, expected)
    np.testing.assert_array_equal(corrupted[~expected], tokens[~expected])


@pytest.mark.parametrize("train", [False, True])
def test_only_selected_tokens_have_a_loss(train):
    objective = masked_language_modeling.Objective(mask_token=MASK_TOKEN, mask_rate=0.4)
    batch = {"tokens": TOKENS, "logits": LOGITS, "mask": MASK, "valid": jnp.asarray([True, True])}
    selected = np.asarray(hidden(objective, TOKENS, MASK, key=3 if train else 0)[1])
    assert 1 < selected.sum() < MASK.sum()

    def loss(logits):
        value, metrics, _ = judge(objective, batch | {"logits": logits}, train=train, seed=3)
        return value, metrics

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(LOGITS)
    expected = losses(LOGITS, TOKENS)[selected]
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], (expected.sum(), selected.sum()), rtol=1e-6)
    right = (np.argmax(LOGITS, -1) == np.asarray(TOKENS))[selected]
    np.testing.assert_allclose(metrics["accuracy"], (right.sum(), selected.sum()))
    np.testing.assert_array_equal(gradient[~selected], 0)
    assert (np.abs(gradient[selected]).max(-1) > 0).all()


def test_the_model_reads_what_is_left_of_the_tokens():
    class Echo(nn.Module):
        vocab_size: int = VOCABULARY

        def __call__(self, tokens, *, train=False):
            return nn.one_hot(tokens, VOCABULARY)

    objective = masked_language_modeling.Objective(mask_token=MASK_TOKEN, mask_rate=1.0)
    _, metrics, _ = judge(objective, {"tokens": TOKENS}, Echo())
    corrupted, _ = hidden(objective, TOKENS)
    np.testing.assert_allclose(metrics["accuracy"], ((corrupted == TOKENS).sum(), TOKENS.size))


@pytest.mark.parametrize("train", [False, True])
def test_the_second_head_is_judged_by_whether_segments_follow(train):
    objective = masked_language_modeling.Objective(mask_token=MASK_TOKEN, next_sentence=True)
    batch = {"tokens": TOKENS, "logits": LOGITS, "label": jnp.asarray([0, 1])}
    loss, metrics, _ = judge(objective, batch, Given(next_sentence=True), train)
    follows = losses(LOGITS[:, 0, :2], batch["label"])
    np.testing.assert_allclose(metrics["next_sentence_loss"], (follows.sum(), 2), rtol=1e-6)
    right = np.argmax(LOGITS[:, 0, :2], -1) == np.asarray(batch["label"])
    np.testing.assert_allclose(metrics["next_sentence_accuracy"], (right.sum(), 2))
    np.testing.assert_allclose(loss, objectives.mean(metrics["loss"]) + follows.mean(), rtol=1e-6)
    assert set(metrics) == set(objective.measures) and "label" in objective.reads


@pytest.mark.parametrize(
    "objective, model, logits, message",
    [
        (language_modeling.Objective(), Given(), LOGITS[:, :, 1:], r"gives \(2, 6, 8\), not logits \(2, 6, 9\)"),
        (MASKED, Given(), LOGITS[:, 0], r"gives \(2, 9\), not logits \(2, 6, 9\) .* head='masked_language_model'"),
        (MASKED, Given(next_sentence=True), LOGITS, "the model has a next-sentence head"),
        (
            masked_language_modeling.Objective(mask_token=1, next_sentence=True),
            Given(),
            LOGITS,
            "the model has no next-sentence head",
        ),
        (masked_language_modeling.Objective(mask_token=9), Given(), LOGITS, "must be from 0 to 8, not 9"),
    ],
)
def test_what_does_not_fit_is_refused(objective, model, logits, message):
    with pytest.raises(ValueError, match=message):
        judge(objective, {"tokens": TOKENS, "logits": logits}, model, train=True)


def judge_untrained(model):
    """What language modelling says of a model, on shapes alone."""
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), tokens=TOKENS))
    loss = functools.partial(language_modeling.Objective().loss, model, rngs={}, train=False)
    return jax.eval_shape(lambda v: loss(v, {"tokens": TOKENS})[0], variables)


RECURRENT = {"num_classes": VOCABULARY, "vocab_size": VOCABULARY, "hidden_size": 16, "outputs": "all"}
CONVOLUTIONAL = {**RECURRENT, "num_layers": 2, "kernel_size": 3}


@pytest.mark.parametrize(
    "name, fields",
    [
        ("bert", SIZES),
        ("bert", {**SIZES, "head": "tokens", "num_classes": VOCABULARY}),
        ("rnn", {**RECURRENT, "bidirectional": True}),
    ],
    ids=["bert", "bert-tokens", "bidirectional"],
)
def test_a_model_that_sees_the_next_token_cannot_predict_it(name, fields):
    with pytest.raises(ValueError, match="sees the tokens that it should predict; take a causal one: gpt .* rnn with"):
        judge_untrained(archs.build(name, **fields))


@pytest.mark.parametrize(
    "fields, given", [({"outputs": "last"}, r"\(2, 9\)"), ({"num_classes": 4}, r"\(2, 6, 4\)")], ids=str
)
def test_outputs_that_are_no_logits_of_all_next_tokens_are_refused(fields, given):
    message = (
        rf"the model gives {given}, not logits \(2, 6, 9\) of the next tokens; set outputs='all' and num_classes to"
    )
    with pytest.raises(ValueError, match=message):
        judge_untrained(archs.build("rnn", **{**RECURRENT, **fields}))


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1])
def test_rates_out_of_range_are_refused(rate):
    with pytest.raises(UserError, match=f"config.objective.mask_rate: {rate} is not above 0"):
        masked_language_modeling.Objective(mask_token=1, mask_rate=rate)


@pytest.mark.parametrize(
    "model, objective",
    [
        (archs.build("gpt", **SIZES), language_modeling.Objective()),
        (archs.build("rnn", **RECURRENT), language_modeling.Objective()),
        (archs.build("tcn", **CONVOLUTIONAL), language_modeling.Objective()),
        (
            archs.build("bert", **SIZES, next_sentence=True),
            masked_language_modeling.Objective(MASK_TOKEN, mask_rate=0.5, next_sentence=True),
        ),
    ],
    ids=["gpt", "rnn", "tcn", "bert"],
)
def test_a_few_steps_of_training_lower_the_loss(model, objective):
    batch = {"tokens": jnp.tile(TOKENS, (8, 1)), "mask": jnp.ones((16, 6), bool), "label": jnp.tile(jnp.arange(2), 8)}
    schedule = FrozenDict(name="constant", warmup_steps=0)
    adam = optimizer.build({"name": "adam", "learning_rate": 0.01, "schedule": schedule})
    spec = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in batch.items()}
    steps = step.compile_steps(step.Recipe(model, objective, adam, steps=60), MeshShape().build(), spec)
    state, curve = steps.init(0), []
    for _ in range(60):
        state, metrics = steps.train(state, batch)
        curve.append({name: float(objectives.mean(metrics[name])) for name in objective.measures})
    assert state.first_nonfinite == 0
    for name in objective.measures:
        first, last = (np.mean([row[name] for row in rows]) for rows in (curve[:5], curve[-5:]))
        assert last > first if name.endswith("accuracy") else last < 0.8 * first, name
