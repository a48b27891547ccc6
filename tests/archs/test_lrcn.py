"""LRCN: frames one by one, padding, and what it takes to see motion."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

SMALL = {"hidden_sizes": (4, 8), "frame_size": 6, "hidden_size": 5}
CASES = {
    "last": {**SMALL, "cell": "lstm", "num_layers": 2, "kernel_size": 2},
    "mean": {**SMALL, "cell": "gru", "outputs": "mean"},
}
RNG = np.random.default_rng(0)
INPUTS = {
    "video": RNG.normal(size=(2, 4, 8, 7, 2)).astype(np.float32),
    "mask": np.arange(4) < np.array([[4], [2]]),
}
# Three convolutions, 64 channels at 4×4 places into 128, and the gates of a layer from 128 to 128.
FRAMES = 160 + 4640 + 18_496 + (64 * 16 + 1) * 128
COUNTS = [
    ({"variant": cell, "num_classes": 10}, FRAMES + gates * (2 * 128 + 1) * 128 + 1290)
    for cell, gates in [("simple", 1), ("gru", 3), ("lstm", 4)]
]
VIDEO, MASK = (jnp.asarray(INPUTS[name]) for name in ("video", "mask"))


@pytest.mark.parametrize("outputs", ["last", "mean"])
def test_padding_changes_nothing(outputs, random_variables):
    """Outputs and gradients are those of the video cut to its length, even if the padding is NaN."""
    model = archs.build("lrcn", num_classes=3, **SMALL, outputs=outputs)
    variables = random_variables(model, VIDEO)
    padded = jnp.where(MASK[:, :, None, None, None], VIDEO, jnp.nan)

    def loss(variables, video, mask):
        logits = model.apply(variables, video, mask)
        return logits[-1].sum(), logits[-1]

    value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, logits), gradient = value_and_grad(variables, padded, MASK)
    (_, expected), expected_gradient = value_and_grad(variables, VIDEO[1:, :2], None)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, expected_gradient)


def test_mean_is_that_of_the_logits_of_all_frames(random_variables):
    last, mean = (archs.build("lrcn", num_classes=3, **SMALL, outputs=outputs) for outputs in ("last", "mean"))
    variables = random_variables(last, VIDEO)
    expected = np.mean([last.apply(variables, VIDEO[:, : step + 1]) for step in range(4)], axis=0)
    np.testing.assert_allclose(mean.apply(variables, VIDEO), expected, rtol=1e-5, atol=1e-6)


def test_the_order_of_frames_and_places_in_them_matter(random_variables):
    model = archs.build("lrcn", num_classes=3, **SMALL)
    variables = random_variables(model, VIDEO)
    apply = jax.jit(model.apply)
    logits = apply(variables, VIDEO)
    for changed in (VIDEO[:, ::-1], VIDEO[:, :, ::-1]):
        assert np.abs(apply(variables, changed) - logits).max() > 1e-3


def test_size_does_not_depend_on_length():
    model = archs.build("lrcn", num_classes=3)
    one, other = (
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, length, 16, 16, 3), jnp.float32))
        for length in (1, 100)
    )
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)


def test_frames_that_are_too_small_are_named():
    model = archs.build("lrcn", num_classes=3)
    with pytest.raises(ValueError, match="lrcn: frames are 8×7 pixels, and 3 convolutions need at least 8×8; enlarge"):
        jax.eval_shape(model.init, jax.random.key(0), VIDEO)
