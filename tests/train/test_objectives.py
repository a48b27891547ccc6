"""Objectives by hand: what counts, what does not, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from train import objectives
from train.objectives import classification, regression, sequence_to_sequence

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(2, 3, 4)), jnp.float32)
LABEL = jnp.asarray([[0, 1, 2], [3, 0, 1]])
MASK = jnp.asarray([[True, True, False], [True, False, False]])


class Given(nn.Module):
    """Gives what it reads; in training, also as the logits of an auxiliary head if it has one."""

    num_classes: int | None = 4
    auxiliary: bool = False

    def __call__(self, features, *, train=False):
        if self.auxiliary and train:
            self.sow("auxiliary", "logits", 2 * features)
        return features


def losses(logits, label):
    return -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.asarray(label)[..., None], -1)[..., 0]


def judge(objective, batch, model=None, train=False):
    terms, *rest = objective.loss(model or Given(), {}, batch, rngs={}, train=train)
    return objectives.total(terms), *rest


def test_labels_of_places_count_where_the_mask_allows():
    loss, metrics, _ = judge(classification.Objective(), {"features": LOGITS, "label": LABEL, "label_mask": MASK})
    expected = losses(LOGITS, LABEL)[np.asarray(MASK)]
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], (expected.sum(), 3), rtol=1e-6)
    right = (np.argmax(LOGITS, -1) == np.asarray(LABEL))[np.asarray(MASK)]
    np.testing.assert_allclose(metrics["accuracy"], (right.sum(), 3))


def test_rows_that_fill_up_a_batch_do_not_count():
    batch = {"features": LOGITS, "label": LABEL, "valid": jnp.asarray([True, False])}
    _, metrics, _ = judge(classification.Objective(), batch)
    np.testing.assert_allclose(metrics["loss"], (losses(LOGITS, LABEL)[0].sum(), 3), rtol=1e-6)


@pytest.mark.parametrize("wrong", [4, -1])
def test_a_label_without_class_has_no_loss_unless_it_is_masked(wrong):
    label = LABEL.at[0, 2].set(wrong)
    batch = {"features": LOGITS, "label": label}
    assert np.isnan(judge(classification.Objective(), batch)[0])
    masked = judge(classification.Objective(), batch | {"label_mask": MASK})[0]
    np.testing.assert_allclose(masked, losses(LOGITS, LABEL)[np.asarray(MASK)].mean(), rtol=1e-6)
    gradient = jax.grad(
        lambda logits: judge(classification.Objective(), batch | {"features": logits, "label_mask": MASK})[0]
    )(LOGITS)
    np.testing.assert_array_equal(np.abs(gradient).max(-1) > 0, MASK)


@pytest.mark.parametrize("given, weight", [(None, 0.3), (0.5, 0.5), (0.0, 0.0)])
def test_auxiliary_heads_add_to_the_loss_of_training_only(given, weight):
    objective, model = classification.Objective(auxiliary_weight=given), Given(auxiliary=True)
    batch = {"features": LOGITS[:, 0], "label": LABEL[:, 0]}
    own, side = (losses(logits, batch["label"]).mean() for logits in (batch["features"], 2 * batch["features"]))
    loss, metrics, mutated = judge(objective, batch, model, train=True)
    np.testing.assert_allclose(loss, own + weight * side, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], (2 * own, 2), rtol=1e-6)
    assert not mutated
    np.testing.assert_allclose(judge(objective, batch, model)[0], own, rtol=1e-6)


class Reader(nn.Module):
    """Gives the first two of the features as classes; in training, all of them as logits of the next token."""

    num_classes: int = 2
    predicts_tokens: bool = True

    def __call__(self, features, *, train=False):
        if train:
            self.sow("auxiliary", "tokens", features)
        return features[:, 0, :2]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_tokens_may_be_predicted_besides_in_training(weight):
    objective, label = classification.Objective(language_model_weight=weight), jnp.asarray([0, 1])
    batch = {"features": LOGITS, "label": label, "tokens": LABEL, "mask": MASK}
    classes = losses(LOGITS[:, 0, :2], label).mean()
    tokens = losses(LOGITS[0, 0], LABEL[0, 1])  # All others lie behind padding, or are the first.
    loss, metrics, _ = judge(objective, batch, Reader(), train=True)
    np.testing.assert_allclose(loss, classes + weight * tokens, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], (2 * classes, 2), rtol=1e-6)
    np.testing.assert_allclose(judge(objective, batch, Reader())[0], classes, rtol=1e-6)
    assert objective.reads == ("label", "tokens")


@pytest.mark.parametrize(
    "objective, model, batch, message",
    [
        (classification.Objective(), Reader(), {"label": LABEL[:, 0]}, "the model predicts tokens; set"),
        (
            classification.Objective(language_model_weight=0.5),
            Given(),
            {"label": LABEL, "tokens": LABEL},
            "the model does not predict tokens; set predicts_tokens of a gpt",
        ),
        (classification.Objective(auxiliary_weight=0.3), Given(), {"label": LABEL}, "has no auxiliary head"),
        (classification.Objective(), Given(None), {"label": LABEL}, "the model gives features"),
        (classification.Objective(), Given(), {"label": LABEL[:, 0]}, r"logits \(2, 3, 4\) but the labels are \(2,\)"),
        (regression.Objective(), Given(auxiliary=True), {"target": LOGITS}, "has an auxiliary head"),
        (regression.Objective(), Given(), {"target": LOGITS[:, 0]}, r"\(2, 3, 4\) but the targets are \(2, 4\)"),
        (sequence_to_sequence.Objective(), Given(), {"target": LABEL[:, 1:]}, r"\(2, 3, 4\), not logits for"),
    ],
)
def test_what_does_not_fit_is_refused(objective, model, batch, message):
    with pytest.raises(ValueError, match=message):
        judge(objective, {"features": LOGITS, **batch}, model, train=True)


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 4)])
def test_regression_is_the_mean_square_of_each_example(shape):
    outputs, target = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for _ in range(2))
    loss, metrics, _ = judge(regression.Objective(), {"features": outputs, "target": target})
    np.testing.assert_allclose(loss, np.square(outputs - target).mean(), rtol=1e-6)
    assert metrics["loss"][1] == 2


def test_sequences_are_judged_by_token_and_whole():
    target = jnp.argmax(LOGITS, -1)
    target = target.at[1, 0].set((target[1, 0] + 1) % 4).at[0, 2].set((target[0, 2] + 1) % 4)  # one is masked
    batch = {"features": LOGITS, "target": target, "target_mask": MASK}
    loss, metrics, _ = judge(sequence_to_sequence.Objective(), batch)
    np.testing.assert_allclose(loss, losses(LOGITS, target)[np.asarray(MASK)].mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], (2, 3))
    np.testing.assert_allclose(metrics["sequence_accuracy"], (1, 2))
