r"""Writes text with the newest checkpoint of a run: python -m train.decode --workdir=runs/gru --input=english.txt

A model of source and target writes a target for every line of the input, greedily if nothing else is asked for. A
language model continues every line, and draws each token at temperature 1; there \n stands for a line break, in what is
read and in what is written, and an empty line for the beginning of a text. One line for each sample goes to standard
output, and nothing else. Of the run, only its folder is read, never its data. Where it is read may be changed
(--config.mesh.data=1).
"""

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from train import mesh as meshes
from train import workdir
from train.checkpoint import Checkpoints
from train.commands import Parser, split_overrides
from train.data import files
from train.data.sequences import Ragged
from train.data.vocabulary import Vocabulary
from train.decoding import GREEDY, BeamSearch, Choice, Rereader, Sampling, Writer, compiled, has_cache, one_line
from train.errors import UserError, run_command
from train.experiment import Experiment, of_run
from train.objectives import input_names
from train.step import TrainState, compile_steps

WRITES = (("translation", "sequence_to_sequence"), ("language", "language_modeling"))  # layout and objective
DRAWING = ("temperature", "top_k", "top_p", "samples", "seed")

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    arguments, overrides = parse(argv)
    meshes.initialize_distributed()
    decoder = restore(workdir.at(arguments.workdir), overrides)
    choice = choose(arguments, Sampling() if decoder.is_language else GREEDY)
    lines = read_lines(arguments.input)
    written = decoder.decode(lines, choice, arguments.max_length, arguments.samples or 1, arguments.seed or 0)
    if jax.process_index() == 0:
        sys.stdout.buffer.write("".join(f"{one_line(text)}\n" for text in written).encode())
        sys.stdout.flush()


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The command's own flags, and the config's.

    Raises:
        UserError: a flag is out of range.
    """
    command = Parser("train.decode", __doc__)
    command.add_argument("--workdir", required=True, help="folder of the run")
    command.add_argument("--input", metavar="FILE", help="text to read, line by line (default: standard input)")
    command.add_argument("--beam", type=int, metavar="N", help="search with N beams for the likeliest text")
    command.add_argument("--alpha", type=float, help="of the beam search's length penalty (default: 0.6)")
    command.add_argument("--temperature", type=float, help="logits are divided by it; 0 takes the likeliest token")
    command.add_argument("--top_k", type=int, metavar="K", help="draw one of the K likeliest tokens")
    command.add_argument("--top_p", type=float, metavar="P", help="draw one of the likeliest that make up P")
    command.add_argument("--samples", type=int, metavar="N", help="texts to draw for each line (default: 1)")
    command.add_argument("--max_length", type=int, metavar="N", help="tokens to write at most")
    command.add_argument("--seed", type=int, help="of what is drawn (default: 0)")
    arguments, overrides = split_overrides(command, argv)
    for flag, least in (("beam", 1), ("samples", 1), ("max_length", 1), ("seed", 0)):
        given = getattr(arguments, flag)
        if given is not None and not least <= given < 2**31:
            raise UserError(f"--{flag}: {given} is out of range; it must be at least {least}.")
    return arguments, overrides


def choose(arguments: argparse.Namespace, default: Sampling) -> Choice:
    """How tokens are chosen.

    Raises:
        UserError: flags contradict each other, or one would do nothing.
    """
    drawing = [f"--{flag}" for flag in DRAWING if getattr(arguments, flag) is not None]
    try:
        if arguments.beam is not None:
            if drawing:
                raise UserError(f"beam: a beam search draws nothing; leave out {', '.join(drawing)}, or --beam.")
            return BeamSearch(arguments.beam, 0.6 if arguments.alpha is None else arguments.alpha)
        if arguments.alpha is not None:
            raise UserError("alpha: does nothing without --beam.")
        temperature = arguments.temperature
        if temperature is None:
            draws = [arguments.top_k, arguments.top_p, arguments.samples] != [None] * 3
            temperature = 1.0 if draws else default.temperature
        rest = [flag for flag in drawing if flag != "--temperature"]
        if temperature == 0 and rest:
            raise UserError(f"temperature: 0 draws nothing, so {', '.join(rest)} would do nothing; set it above 0.")
        return Sampling(temperature, arguments.top_k, arguments.top_p)
    except UserError as error:
        raise UserError(f"--{error}") from error


def read_lines(path: str | None) -> list[tuple[str, str]]:
    """The lines of a file or of standard input, each behind its place.

    Raises:
        UserError: it cannot be read, is not UTF-8 text, or holds nothing.
    """
    name = "standard input" if path is None else path
    if path is None and sys.stdin is None:
        raise UserError("--input: standard input is closed; name a file.")
    try:
        content = sys.stdin.buffer.read() if path is None else Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"--input: {path or repr(path)} cannot be read: {error.strerror}.") from error
    lines = list(files.numbered(files.decode(content, name), name))
    if not lines:
        raise UserError(f"--input: {name} holds no line.")
    return lines


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A run that writes text.

    Attributes:
        experiment: what it is, without its data.
        vocabulary: its tokens.
        mesh: its devices.
        state: of its newest whole checkpoint.
    """

    experiment: Experiment
    vocabulary: Vocabulary
    mesh: Mesh
    state: TrainState

    @property
    def layout(self) -> Any:
        return self.experiment.data.layout

    @property
    def is_language(self) -> bool:
        """Whether it continues texts, instead of writing one for another."""
        return self.experiment.config.data.layout.name == "language"

    def decode(
        self, lines: Sequence[tuple[str, str]], choice: Choice, max_length: int | None, samples: int, seed: int
    ) -> list[str]:
        """What is written for each line, `samples` texts for each.

        Args:
            lines: texts, each behind its place.
            choice: how tokens are chosen.
            max_length: tokens to write at most; None takes a translation's from the layout, and gives a continuation
                what its longest beginning leaves of that.
            samples: texts to draw for each line.
            seed: of the random numbers.
        Raises:
            UserError: a line is empty or too long, or the model cannot write so much.
        """
        prompts = [prompt for prompt in self._prompts(lines) for _ in range(samples)]
        length, writer = self._writer(max([len(prompt) for prompt in prompts]), max_length)
        written = self._write(prompts, writer, choice, length, seed)
        if not self.is_language:
            return self.vocabulary.decode(written)
        # Only the whole text shows where words are joined: a continuation may begin with a space.
        beginnings = self.vocabulary.decode(prompts)
        wholes = self.vocabulary.decode([np.concatenate(parts) for parts in zip(prompts, written, strict=True)])
        return [whole[len(beginning) :] for beginning, whole in zip(beginnings, wholes, strict=True)]

    def _prompts(self, lines: Sequence[tuple[str, str]]) -> list[np.ndarray]:
        """Tokens of each line, as the model reads them."""
        texts = [text.replace(r"\n", "\n") if self.is_language else text for _, text in lines]
        prompts = self.layout.prompts(texts, self.vocabulary)
        most = self.layout.max_length - 1 if self.is_language else self.layout.max_length
        for (place, text), prompt in zip(lines, prompts, strict=True):
            if not (self.is_language or text.strip()):
                raise UserError(f"{place}: is empty; remove the line, or fill it in.")
            if len(prompt) > most:
                raise UserError(
                    f"{place}: has {len(prompt)} tokens, and the model was trained on {most} at most; shorten the line."
                )
        unknown = sum(int((prompt == self.vocabulary.unknown).sum()) for prompt in prompts)
        if unknown:
            log.warning("%d of %d tokens are unknown to the run's vocabulary", unknown, sum(map(len, prompts)))
        return prompts

    def _writer(self, longest: int, max_length: int | None) -> tuple[int, Writer]:
        """How many tokens are written at most, and what writes them."""
        model, name = self.experiment.model, self.experiment.config.model.name
        ends = {"end_token": self.vocabulary.end, "pad_token": self.vocabulary.pad}
        room = self.layout.max_length - longest if self.is_language else self.layout.max_length
        length = max_length or room
        if not self.is_language and length > room:
            log.warning("%s was trained to write %d tokens at most, and is asked for %d", name, room, length)
        if self.is_language and not has_cache(model):
            if not {"tokens", "mask"} <= input_names(model).keys():
                raise UserError(f"config.model: {name} cannot continue texts: it has no cache, and reads no mask.")
            return length, Rereader(model, **ends)
        if self.is_language and length > room:
            # Beyond the positions that it was trained on, a model reads the last tokens only.
            return length, Rereader(model, **ends, window=self.layout.max_length - 1)
        writer = Writer(model, **ends)
        to_read = (longest if self.is_language else 1) + length - 1
        try:
            writer.cache_shapes(writer.read(self.experiment.spec), 1, to_read)
        except ValueError as error:
            raise UserError(f"--max_length: {name} cannot write {length} tokens: {error}") from error
        return length, writer

    def _write(self, prompts: list[np.ndarray], writer: Writer, choice: Choice, length: int, seed: int) -> np.ndarray:
        """Tokens [prompts, length]; prompts of similar length share a batch."""
        parts = self.mesh.shape["data"] * self.mesh.shape["fsdp"]
        size = min(self.experiment.data.batch_size, -(-len(prompts) // parts) * parts)
        function = compiled(writer, self.mesh, choice, length)
        order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
        rows = meshes.local_rows(self.mesh, size)
        longest = max(len(prompt) for prompt in prompts)
        pieces = []
        for number, first in enumerate(range(0, len(prompts), size)):
            chosen = np.resize(order[first : first + size], size)  # a last batch is filled up with copies
            batch = self._batch([prompts[i] for i in chosen], longest)
            local = {name: array[rows] for name, array in batch.items()}
            key = jax.random.fold_in(jax.random.key(seed), number)
            with jax.set_mesh(self.mesh), jax.default_matmul_precision(self.experiment.run.matmul_precision):
                pieces.append(function(self.state, meshes.put_batch(self.mesh, local, rows, size), key))
        written = np.concatenate(jax.device_get(pieces))[: len(prompts)]
        return written[np.argsort(order)]

    def _batch(self, prompts: list[np.ndarray], longest: int) -> dict[str, np.ndarray]:
        """What the model reads, padded to a few lengths, so that little is compiled."""
        if self.is_language:  # what is written stands right behind a beginning, so padding comes before it
            tokens, real = Ragged.of([prompt[::-1] for prompt in prompts]).padded(np.arange(len(prompts)), longest)
            return {"tokens": tokens[:, ::-1], "mask": real[:, ::-1]}
        widths = sorted({min(width, longest) for width in (*self.experiment.data.length_buckets, longest)})
        width = next(width for width in widths if width >= max(len(prompt) for prompt in prompts))
        source, real = Ragged.of(prompts).padded(np.arange(len(prompts)), width)
        return {"source": source, "source_mask": real}


def restore(folder: epath.Path, overrides: Sequence[str]) -> Decoder:
    """A run and its newest whole checkpoint.

    Raises:
        UserError: there is none, or it is not one that writes text.
    """
    experiment = of_run(folder, overrides, with_data=False)
    vocabulary = _vocabulary(experiment, folder)
    mesh = experiment.mesh_shape.build()
    meshes.check_batch_size(mesh, experiment.data.batch_size, 1)
    abstract = compile_steps(experiment.recipe, mesh, experiment.spec).abstract_state
    with jax.set_mesh(mesh), Checkpoints(folder, experiment.checkpoint, {}, read_only=True) as checkpoints:
        state = checkpoints.restore(abstract)
    if state is None:
        raise UserError(f"{folder} holds no whole checkpoint; train it first.")
    return Decoder(experiment, vocabulary, mesh, state)


def _vocabulary(experiment: Experiment, folder: epath.Path) -> Vocabulary:
    """The run's tokens.

    Raises:
        UserError: it does not write text.
    """
    layout, objective = experiment.config.data.layout.name, experiment.config.objective.name
    if (layout, objective) not in WRITES:
        allowed = " or ".join(f"{layout} with {objective}" for layout, objective in WRITES)
        found = f"its layout is {layout}" if layout else "its data are no texts,"
        raise UserError(f"{folder} is no run that writes text: {found} with {objective}, not {allowed}.")
    vocabulary = experiment.data.vocabulary()
    assert vocabulary is not None, "such a layout goes with a tokenizer"
    return vocabulary


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(run_command(main))
