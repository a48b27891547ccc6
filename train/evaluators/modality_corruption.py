"""What does a network that fuses modalities make of an example when one of them says nothing?"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from archs import fusion
from train.errors import UserError
from train.evaluators import Evaluation, accuracy

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(accuracy.Evaluator):
    """Reports `accuracy_MODALITY_noise` and `accuracy_MODALITY_masked`, for each modality of a `fusion` network.

    Noise is normal, with the mean and the variance that the modality has in the batch; of words, any that there are,
    each as likely. What is masked is not there for the network, which is not how it was trained if it never missed it.

    Attributes:
        seed: of the noise.
    """

    seed: int = 0

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        if not isinstance(experiment.model, fusion.Model):
            name = experiment.config.model.name
            raise UserError(f"{path}: {name} does not fuse modalities, of which one could be corrupted; fusion does.")

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return tuple(f"accuracy_{name}_{way}" for name in experiment.model.modalities for way in ("noise", "masked"))

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        names = evaluation.experiment.model.modalities
        numbers = {
            f"accuracy_{name}_noise": evaluation.means(self.split, change=self.noisy(evaluation, name))["accuracy"]
            for name in names
        }
        numbers |= {
            f"accuracy_{name}_masked": evaluation.means(self.split, change=functools.partial(masked, name))["accuracy"]
            for name in names
        }
        return {name: numbers[name] for name in self.reports(evaluation.experiment)}

    def noisy(self, evaluation: Evaluation, name: str) -> Callable[[int, dict[str, Array]], dict[str, Array]]:
        """Puts noise in the place of a modality, other noise in each batch."""
        vocab_size = evaluation.experiment.model.vocab_size

        def change(number: int, batch: dict[str, Array]) -> dict[str, Array]:
            key = jax.random.fold_in(jax.random.key(self.seed), number)
            return batch | {name: noise(key, batch[name], batch.get(f"{name}_mask"), vocab_size)}

        return change


@functools.partial(jax.jit, static_argnames="vocab_size")
def noise(key: PRNGKeyArray, value: Array, mask: Array | None, vocab_size: int | None) -> Array:
    """Noise like a modality `value` [B, *shape], judged by what `mask`, [B] or [B, steps], says is real."""
    if jnp.issubdtype(value.dtype, jnp.integer):
        assert vocab_size is not None, "of words there is a vocabulary"
        return jax.random.randint(key, value.shape, 0, vocab_size, value.dtype)
    real = jnp.ones(value.shape[:1], bool) if mask is None else mask
    real = jnp.broadcast_to(real.reshape(real.shape + (1,) * (value.ndim - real.ndim)), value.shape)
    mean, deviation = jnp.mean(value, where=real), jnp.std(value, where=real)
    return mean + deviation * jax.random.normal(key, value.shape, value.dtype)


def masked(name: str, number: int, batch: Mapping[str, Array]) -> dict[str, Array]:
    """The batch without a modality in any example."""
    return {**batch, f"{name}_mask": jnp.zeros_like(batch["valid"])}
