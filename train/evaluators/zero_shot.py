"""Classifying images by texts that name the classes (Radford et al., 2021, section 3.1)."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from archs.clip import zero_shot_classifier
from train import mesh as meshes
from train.data.arrays import InMemory
from train.data.layouts import text
from train.errors import UserError
from train.evaluators import Evaluation, Scheduled
from train.evaluators.retrieval import check_embeds, embed

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `zero_shot_accuracy`, and `majority`, the share of the split's largest class, which any guess can have.

    The embedding of a class is the mean over its prompts: each template with the name of the class. An image is of the
    class whose embedding has the highest cosine with its own.

    Attributes:
        templates: texts with {} in the place of the name.
    """

    templates: tuple[str, ...] = ("{}",)

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        check_embeds(path, experiment)
        if not isinstance(experiment.data.layout, text.Layout):
            raise UserError(
                f"{path}: prompts are read as texts are, by config.data.layout.name=text, and it is not set."
            )
        if not self.templates:
            raise UserError(f"{path}.templates: there is none; give at least one, such as 'a photo of a {{}}'.")
        for template in self.templates:
            if template.count("{}") != 1:
                raise UserError(f"{path}.templates: {template!r} must have {{}} once, in the place of the name.")
        if not class_names(experiment) or "label" not in experiment.spec:
            source = experiment.config.data.source.name
            raise UserError(f"{path}: the data ({source}) name no classes; set config.data.source.label, if it has it.")
        self._prompts(experiment)

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return ("zero_shot_accuracy", "majority")

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        experiment = evaluation.experiment
        size = len(experiment.data.split(self.split))
        batches = evaluation.batches(self.split)
        images = embed(evaluation, ({name: batch[name] for name in ("image", "label")} for batch in batches), size)
        count = len(class_names(experiment))
        prompts = embed(evaluation, self._batches(evaluation), count * len(self.templates))["text"]
        prompts = prompts.reshape(count, len(self.templates), -1)
        classes = np.asarray(zero_shot_classifier(jnp.asarray(prompts)))
        chosen = np.argmax(images["image"] @ classes.T, axis=1)
        majority = np.bincount(images["label"]).max() / size
        return {"zero_shot_accuracy": float(np.mean(chosen == images["label"])), "majority": float(majority)}

    def _prompts(self, experiment: "Experiment") -> Any:
        """Examples with `tokens` and `mask`, template by template for the first class, then for the next."""
        layout: Any = experiment.data.layout
        vocabulary = experiment.data.vocabulary()
        assert vocabulary is not None
        texts = [template.replace("{}", name) for name in class_names(experiment) for template in self.templates]
        origin = [f"prompt {prompt!r}" for prompt in texts]
        columns = {layout.text: np.asarray(texts, object), "origin": np.asarray(origin, object)}
        return layout.arrange(InMemory(columns), vocabulary, "prompts")

    def _batches(self, evaluation: Evaluation) -> Iterator[dict[str, jax.Array]]:
        prompts, size = self._prompts(evaluation.experiment), evaluation.experiment.data.batch_size
        rows = meshes.local_rows(evaluation.mesh, size)
        for start in range(0, len(prompts), size):
            chosen = np.minimum(np.arange(start, start + size), len(prompts) - 1)  # a last batch is filled up
            batch = prompts[chosen[rows]]
            given = {name: batch[name] for name in ("tokens", "mask")}
            yield meshes.put_batch(evaluation.mesh, given, rows, size)


def class_names(experiment: "Experiment") -> tuple[str, ...]:
    """What the source calls its classes, in the order of their numbers; nothing if it does not say."""
    return getattr(experiment.data.source, "classes", ())
