"""Finding the text of an image, and the image of a text, among all those of a split."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array
from scipy import stats

from train import mesh as meshes
from train.errors import Diverged, UserError
from train.evaluators import Evaluation, Scheduled
from train.step import TrainState, evaluated_variables

if TYPE_CHECKING:
    from train.experiment import Experiment

PLACES = (1, 5, 10)
BOTH_WAYS = ("image_to_text", "text_to_image")
ROWS = 1024  # Queries that are compared at a time.


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `image_to_text_recall_K` and `text_to_image_recall_K`, for K of 1, 5 and 10.

    That is the share of queries for which something right is among the K candidates with the highest cosine. All pairs
    of the split are candidates, and where texts are equal, token by token, each is right for the images of all of them.
    Of equal cosines the wrong one comes first, so a model that embeds everything alike finds nothing. `chance_recall_K`
    is what candidates in random order would give.
    """

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        check_embeds(path, experiment)
        size = len(experiment.data.split(self.split))
        if size <= max(PLACES):
            raise UserError(f"{path}: the split {self.split!r} has {size} pairs; it must have more than {max(PLACES)}.")

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return tuple(f"{name}_recall_{k}" for name in (*BOTH_WAYS, "chance") for k in PLACES)

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        names = ("image", "tokens", "mask")
        batches = evaluation.batches(self.split)
        size = len(evaluation.experiment.data.split(self.split))
        found = embed(evaluation, ({n: batch[n] for n in names if n in batch} for batch in batches), size)
        texts = np.unique(found["tokens"], axis=0, return_inverse=True)[1].reshape(-1)
        queries = {"image_to_text": (found["image"], found["text"]), "text_to_image": (found["text"], found["image"])}
        numbers: dict[str, float] = {}
        for name, (asked, candidates) in queries.items():
            better = wrong_before_right(asked, candidates, texts)
            numbers |= {f"{name}_recall_{k}": float(np.mean(better < k)) for k in PLACES}
        right = np.bincount(texts)[texts]
        chances = {f"chance_recall_{k}": float(stats.hypergeom.sf(0, size, right, k).mean()) for k in PLACES}
        return numbers | chances


def check_embeds(path: str, experiment: "Experiment") -> None:
    """Raises UserError, beginning with `path`, unless the model embeds images and texts."""
    model, name = experiment.model, experiment.config.model.name
    if not (hasattr(model, "encode_image") and hasattr(model, "encode_text")):
        raise UserError(f"{path}: {name} does not embed images and texts in one space; clip does.")


def embed(evaluation: Evaluation, batches: Iterable[Mapping[str, Array]], size: int) -> dict[str, np.ndarray]:
    """The first `size` rows of what `compiled` gives for all batches.

    Raises:
        Diverged: an embedding is not finite.
    """
    function = compiled(evaluation.experiment.model, evaluation.mesh)
    rows = jax.device_get([function(evaluation.state, batch) for batch in batches])
    found = jax.tree.map(lambda *parts: np.concatenate(parts)[:size], *rows)
    for name in ("image", "text"):
        if not np.isfinite(found.get(name, 0)).all():
            raise Diverged(f"an embedding ({name}) is not finite after step {int(evaluation.state.step)}")
    return found


@functools.lru_cache(maxsize=8)
def compiled(model: Any, mesh: Mesh) -> Callable[[TrainState, Mapping[str, Array]], dict[str, Array]]:
    """A compiled function, the same object for equal arguments: state, batch -> arrays, whole on every process.

    Of a batch with `image`, these are embeddings `image` [B, E]; with `tokens` and perhaps their `mask`, `text` [B, E]
    and `tokens` [B, T], -1 where they are not real; and `label` as it is.
    """
    gather = functools.partial(meshes.gather_for_use, mesh)

    def function(state: TrainState, batch: Mapping[str, Array]) -> dict[str, Array]:
        variables = evaluated_variables(state, gather)
        given = {"label": batch["label"]} if "label" in batch else {}
        if "image" in batch:
            given["image"] = model.apply(variables, batch["image"], method="encode_image")
        if "tokens" in batch:
            tokens, mask = batch["tokens"], batch.get("mask")
            given["text"] = model.apply(variables, tokens, mask, method="encode_text")
            given["tokens"] = tokens if mask is None else jnp.where(mask, tokens, -1)
        return given

    return jax.jit(function, out_shardings=meshes.replicated(mesh))


def wrong_before_right(queries: np.ndarray, candidates: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """For each query [Q, E] how many candidates [Q, E] of another kind are at least as near as the nearest of its own.

    `kind` [Q] is that of the i-th query and of the i-th candidate.
    """
    counts = []
    for start in range(0, len(queries), ROWS):
        cosines = queries[start : start + ROWS] @ candidates.T
        right = kind[start : start + ROWS, None] == kind
        nearest = np.where(right, cosines, -np.inf).max(axis=1, keepdims=True)
        counts.append(((cosines >= nearest) & ~right).sum(axis=1))
    return np.concatenate(counts)
