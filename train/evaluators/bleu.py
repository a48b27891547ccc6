"""BLEU (Papineni et al., 2002) of what a model writes, by sacrebleu (Post, 2018), whose signature says how."""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from train import workdir
from train.data import layouts
from train.data.layouts import translation
from train.decoding import BeamSearch, one_line
from train.errors import UserError
from train.evaluators import Evaluation, Scheduled, check_writes, quarters

if TYPE_CHECKING:
    from train.experiment import Experiment

FOLDER = "evaluations"  # In that of the run.


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `bleu`, from 0 to 100: what a beam search finds against the texts of the split, as their source has them.

    Writes the texts to `evaluations/bleu_SPLIT.txt` in the folder of the run, one a line, and to `bleu_SPLIT.json` the
    numbers and sacrebleu's signature.

    Attributes:
        num_beams, alpha: of the beam search, see `train.decoding.BeamSearch`; one beam is about greedy.
        max_length: tokens that are written at most; None is `max_length` of the layout.
        num_examples: only the first examples of the split; None is all.
        by_length: whether to report `bleu_length_1` to `bleu_length_4` too: of each quarter of the examples, from those
            with the fewest words in their source to those with the most.
    """

    num_beams: int = 4
    alpha: float = 0.6
    max_length: int | None = None
    num_examples: int | None = None
    by_length: bool = False

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        layout = experiment.data.layout
        if not isinstance(layout, translation.Layout):
            raise UserError(f"{path}: needs texts and their translations: config.data.layout.name=translation.")
        try:
            self._choice()
        except UserError as error:
            raise UserError(f"{path}.{error}") from error
        size = len(experiment.data.split(self.split))
        least = 4 if self.by_length else 1
        for field, given, most in (("max_length", self.max_length, None), ("num_examples", self.num_examples, size)):
            if given is not None and (given < 1 or (most is not None and given > most)):
                raise UserError(f"{path}.{field}: {given} is out of range, from 1{f' to {most}' if most else ''}.")
        if (self.num_examples or size) < least:
            raise UserError(f"{path}.by_length: {self.num_examples or size} examples are too few for four parts.")
        check_writes(path, experiment, self._length(experiment))

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return ("bleu", *(f"bleu_length_{n}" for n in range(1, 5) if self.by_length))

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        source, reference = self._texts(evaluation.experiment)
        written = self._written(evaluation)
        parts = quarters(np.asarray([len(text.split()) for text in source])) if self.by_length else []
        bleu, signature = corpus_bleu(written, reference)
        by_length = {
            f"bleu_length_{n}": corpus_bleu([written[i] for i in part], [reference[i] for i in part])[0]
            for n, part in enumerate(parts, 1)
        }
        numbers = {"bleu": bleu, **by_length}
        if jax.process_index() == 0:
            self._save(evaluation, written, {**numbers, "signature": signature})
        return numbers

    def _texts(self, experiment: "Experiment") -> list[list[str]]:
        """Sources and references."""
        split: Any = experiment.data.split(self.split)
        layout: Any = experiment.data.layout
        return [layouts.read_texts(split.examples, name)[: self.num_examples] for name in layout.texts]

    def _written(self, evaluation: Evaluation) -> list[str]:
        vocabulary = evaluation.experiment.data.vocabulary()
        assert vocabulary is not None
        length = self._length(evaluation.experiment)
        return vocabulary.decode(list(evaluation.write(self.split, self._choice(), length, self.num_examples)))

    def _save(self, evaluation: Evaluation, written: list[str], result: dict[str, Any]) -> None:
        folder = evaluation.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"bleu_{self.split}.txt").write_text(
            "".join(f"{one_line(text)}\n" for text in written), encoding="utf-8"
        )
        how = {"step": int(evaluation.state.step), "examples": len(written), **dataclasses.asdict(self)}
        workdir.write_json(folder / f"bleu_{self.split}.json", {**result, **how})

    def _choice(self) -> BeamSearch:
        return BeamSearch(self.num_beams, self.alpha)

    def _length(self, experiment: "Experiment") -> int:
        layout: Any = experiment.data.layout
        return self.max_length or layout.max_length


def corpus_bleu(written: list[str], reference: list[str]) -> tuple[float, str]:
    """BLEU and how it was computed, as sacrebleu says it."""
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    return metric.corpus_score(written, [reference]).score, str(metric.get_signature())
