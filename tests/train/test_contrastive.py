"""The contrastive objective: what counts, what does not, and that devices share one batch.

Run as a program on eight simulated devices, it prints metrics of the first updates on several meshes, as JSON.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.core import FrozenDict
from jax.sharding import AxisType, Mesh

import archs
from train import mesh as meshes
from train import objectives
from train.objectives import contrastive
from train.optimizer import Optimizer
from train.step import Recipe, compile_steps

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(5, 5)), jnp.float32)
VALID = jnp.asarray([True, False, True, True, False])


class Given(nn.Module):
    """Gives what it reads."""

    def __call__(self, image, *, train=False):
        return image


def judge(logits, **batch):
    terms, *rest = contrastive.Objective().loss(Given(), {}, {"image": logits, **batch}, rngs={}, train=True)
    return objectives.total(terms), *rest


def by_hand(logits: np.ndarray) -> tuple[float, float, float]:
    """Sum of losses, and how many images and texts find each other."""
    logits = np.asarray(logits, np.float64)
    weights = np.exp(logits)
    right = np.diagonal(weights)
    losses = -np.log(right / weights.sum(axis=1)) - np.log(right / weights.sum(axis=0))
    own = np.arange(len(logits))
    return losses.sum() / 2, (logits.argmax(axis=1) == own).sum(), (logits.argmax(axis=0) == own).sum()


def test_is_the_mean_of_both_directions():
    logits = (LOGITS + 5 * jnp.eye(5)).at[jnp.array([0, 2]), 1].set(9.0)  # two images choose the text of a third
    loss, metrics, mutated = judge(logits)
    for name, total in zip(contrastive.Objective.measures, by_hand(logits), strict=True):
        np.testing.assert_allclose(metrics[name], (total, 5), rtol=1e-6)
    np.testing.assert_allclose(loss, by_hand(logits)[0] / 5, rtol=1e-6)
    assert by_hand(logits)[1:] == (3, 4) and not mutated


def test_equal_logits_are_guessed():
    np.testing.assert_allclose(judge(jnp.zeros((8, 8)))[0], np.log(8), rtol=1e-6)


def test_rows_that_fill_up_a_batch_are_neither_asked_nor_answers():
    spoilt = jnp.where(VALID[:, None] & VALID[None], LOGITS, jnp.nan)
    loss, metrics, _ = judge(spoilt, valid=VALID)
    rest = LOGITS[VALID][:, VALID]
    np.testing.assert_allclose(loss, judge(rest)[0], rtol=1e-6)
    for name, pair in judge(rest)[1].items():
        np.testing.assert_allclose(metrics[name], pair, rtol=1e-6)
    gradient = jax.grad(lambda logits: judge(logits, valid=VALID)[0])(spoilt)
    np.testing.assert_array_equal(gradient != 0, VALID[:, None] & VALID[None])


def test_a_batch_without_examples_counts_nothing():
    loss, metrics, _ = judge(LOGITS, valid=jnp.zeros(5, bool))
    assert loss == 0 and all(pair == (0, 0) for pair in metrics.values())


def test_what_is_no_logit_of_each_pair_is_refused():
    with pytest.raises(ValueError, match=r"the model gives \(5, 4\), not a logit for each pair of 5 images and texts"):
        judge(LOGITS[:, :4])


@pytest.mark.slow
def test_devices_share_the_negatives():
    command = [sys.executable, str(Path(__file__))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "8"}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, text=True).stdout
    by_mesh = json.loads(printed)
    assert len(by_mesh) == 3 and by_mesh["one"]["loss"][-1] < by_mesh["one"]["loss"][0]
    for name, curves in by_mesh.items():
        assert len(curves["loss"]) == 5
        for metric, curve in curves.items():
            np.testing.assert_allclose(curve, by_mesh["one"][metric], rtol=1e-5, err_msg=f"{metric} on {name}")


def curves(sizes: tuple[int, ...]) -> dict[str, list[float]]:
    """Metrics of the first updates of a small CLIP on a mesh of the given sizes; the last row is not valid."""
    fields = {"vocab_size": 16, "max_length": 4, "embedding_size": 8, "head_size": 4, "dropout_rate": 0.1}
    towers = {"image_hidden_size": 32, "num_image_layers": 1, "patch_size": 4, "text_hidden_size": 32}
    model = archs.build("clip", **fields, **towers, num_text_layers=1)
    constant = FrozenDict({"name": "constant", "warmup_steps": 0})
    recipe = Recipe(model, contrastive.Objective(), Optimizer("adam", 0.001, schedule=constant), steps=5)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.normal(size=(16, 8, 8, 1)).astype(np.float32),
        "tokens": rng.integers(16, size=(16, 4)).astype(np.int32),
        "valid": np.arange(16) < 15,
    }
    devices = np.asarray(jax.devices()[: int(np.prod(sizes))]).reshape(sizes)
    mesh = Mesh(devices, meshes.AXES, axis_types=(AxisType.Auto,) * 4)
    spec = {key: jax.ShapeDtypeStruct(value.shape, value.dtype) for key, value in batch.items()}
    steps = compile_steps(recipe, mesh, spec)
    with jax.set_mesh(mesh), jax.default_matmul_precision("highest"):
        state, rows = steps.init(0), []
        for _ in range(5):
            state, metrics = steps.train(state, meshes.put_batch(mesh, batch, slice(0, 16), 16))
            rows.append({name: metrics[name] for name in (*contrastive.Objective.measures, "gradient_norm")})
    means = [{name: float(total / count) for name, (total, count) in row.items()} for row in jax.device_get(rows)]
    return {name: [row[name] for row in means] for name in means[0]}


if __name__ == "__main__":
    shapes = {"one": (1, 1, 1, 1), "data 8": (8, 1, 1, 1), "all": (2, 2, 2, 1)}
    print(json.dumps({name: curves(sizes) for name, sizes in shapes.items()}))
