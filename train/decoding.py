"""Writing sequences with a trained model: greedy, by sampling, and by beam search, one token at a time over a cache.

A model that writes takes `decode=True`: it then reads the tokens that are new, keeps the rest in the collection
`cache`, and gives logits for what follows each. Language models that cannot are read anew for each token. The functions
are pure; `compiled` makes one compiled function of them for a model, a way of choosing, and a length.
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from train import mesh as meshes
from train.errors import UserError
from train.objectives import input_names
from train.step import TrainState, evaluated_variables

LOWEST = 1e-4  # Of temperatures; logits that are divided by less leave float32.
NEVER = -1e9  # The logarithm of a probability of nothing that stays finite in sums.


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest token, which is greedy decoding.
        top_k: only the k likeliest tokens can be drawn; None allows all.
        top_p: only the likeliest tokens that make up this probability can be drawn (Holtzman et al., 2019); None allows
            all.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        is_finite = LOWEST <= self.temperature < math.inf
        holds = {
            "temperature": (self.temperature == 0 or is_finite, f"0, or at least {LOWEST} and finite"),
            "top_k": (self.top_k is None or self.top_k >= 1, "at least 1"),
            "top_p": (self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1"),
        }
        for name, (is_allowed, range_of) in holds.items():
            if not is_allowed:
                raise UserError(f"{name}: {getattr(self, name)} is out of range; it must be {range_of}.")

    def draw(self, key: PRNGKeyArray, logits: Float[Array, "B V"]) -> Int[Array, " B"]:
        if self.temperature == 0:
            return jnp.argmax(logits, axis=-1)
        return jax.random.categorical(key, self.allowed(logits / self.temperature))

    def allowed(self, logits: Float[Array, "B V"]) -> Float[Array, "B V"]:
        """The logits of tokens that may be drawn; minus infinity elsewhere."""
        if self.top_k is not None:
            smallest = lax.top_k(logits, min(self.top_k, logits.shape[-1]))[0][:, -1:]
            logits = jnp.where(logits < smallest, -jnp.inf, logits)
        if self.top_p is not None:
            order = jnp.sort(logits, axis=-1, descending=True)
            before = jnp.cumsum(jax.nn.softmax(order), axis=-1) - jax.nn.softmax(order)  # of all likelier tokens
            smallest = jnp.where(before < self.top_p, order, jnp.inf).min(axis=-1, keepdims=True)
            logits = jnp.where(logits < smallest, -jnp.inf, logits)
        return logits


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """The likeliest sequence that a beam search finds.

    Attributes:
        num_beams: sequences that are kept.
        alpha: of the length penalty; 0 compares sums of log-probabilities, 1 about their means.
    """

    num_beams: int = 4
    alpha: float = 0.6

    def __post_init__(self) -> None:
        for name, is_allowed in {"num_beams": self.num_beams >= 1, "alpha": self.alpha >= 0}.items():
            if not is_allowed:
                raise UserError(f"{name}: {getattr(self, name)} is out of range.")


GREEDY = Sampling(temperature=0.0)


@dataclasses.dataclass(frozen=True)
class Writer:
    """A model that continues sequences.

    Attributes:
        model: takes `decode=True`, and tokens as `target` (with a source to read) or as `tokens`.
        end_token: ends a sequence; what follows it is filled with `pad_token`. None never ends.
        pad_token: fills what follows the end.
    """

    model: nn.Module
    end_token: int | None = None
    pad_token: int = 0

    @property
    def written(self) -> str:
        """The argument for the tokens that are written."""
        return "target" if "target" in input_names(self.model) else "tokens"

    def read(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What the model reads of a batch besides the tokens that it continues."""
        return {name: batch[name] for name in input_names(self.model) if name in batch and name != self.written}

    def prompt(self, batch: Mapping[str, Array]) -> Int[Array, "B P"]:
        """What the model continues: the start token where there is a source, else the tokens of the batch."""
        if self.written == "tokens":
            return batch["tokens"]
        return jnp.full((len(batch["source"]), 1), getattr(self.model, "start_token"), jnp.int32)  # noqa: B009

    def empty_cache(self, inputs: Mapping[str, Array], batch_size: int, length: int) -> PyTree:
        """A cache of zeros for sequences of at most `length` tokens."""
        shapes = self.cache_shapes(inputs, batch_size, length)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def extend(
        self, variables: PyTree, cache: PyTree, tokens: Int[Array, "B T"], inputs: Mapping[str, Any]
    ) -> tuple[Float[Array, "B V"], PyTree]:
        """Reads new tokens; returns logits for the one after the last, and the cache."""
        given = {name: None for name, required in input_names(self.model).items() if required} | dict(inputs)
        given[self.written] = tokens
        logits, changed = self.model.apply({**variables, "cache": cache}, **given, decode=True, mutable=["cache"])
        return logits[:, -1], changed["cache"]

    def batch_axes(self, inputs: Mapping[str, Array], length: int) -> PyTree:
        """The axis of each leaf of a cache that counts sequences; -1 if none does."""
        one, two = (self.cache_shapes(inputs, size, length) for size in (1, 2))

        def axis(one: Any, two: Any) -> int:
            differ = [n for n, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b]
            return differ[0] if differ else -1

        return jax.tree.map(axis, one, two)

    def cache_shapes(self, inputs: Mapping[str, Any], batch_size: int, length: int) -> PyTree:
        """Shapes and types of a cache for sequences of at most `length` tokens; nothing is computed.

        Raises ValueError if the model cannot write them.
        """

        def shape(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype)

        required = input_names(self.model)  # a mask is of the prompt, and changes no shape
        given = {name: shape(leaf) for name, leaf in inputs.items() if required[name]}
        given[self.written] = jax.ShapeDtypeStruct((batch_size, length), jnp.int32)
        key = jax.eval_shape(lambda: jax.random.key(0))
        made = jax.eval_shape(lambda key, given: self.model.init(key, **given, decode=True), key, given)
        return made["cache"]


@dataclasses.dataclass(frozen=True)
class Rereader(Writer):
    """A causal model of `tokens` and their `mask` that reads what it has written anew for each further token.

    Attributes:
        window: reads this many of the last tokens at most; None reads all.
    """

    window: int | None = None

    def extend(
        self, variables: PyTree, cache: PyTree, tokens: Int[Array, "B T"], inputs: Mapping[str, Any]
    ) -> tuple[Float[Array, "B V"], PyTree]:
        new = {"tokens": tokens, "mask": inputs.get("mask", jnp.ones(tokens.shape, bool))}
        width = cache["tokens"].shape[1]
        cache = {name: jnp.concatenate([cache[name], new[name]], axis=1)[:, -width:] for name in new}
        logits: Any = self.model.apply(variables, **cache)
        return logits[:, -1], cache

    def cache_shapes(self, inputs: Mapping[str, Any], batch_size: int, length: int) -> PyTree:
        shape = (batch_size, length if self.window is None else min(length, self.window))
        return {"tokens": jax.ShapeDtypeStruct(shape, jnp.int32), "mask": jax.ShapeDtypeStruct(shape, bool)}


def has_cache(model: nn.Module) -> bool:
    """Whether a model takes `decode=True`."""
    return "decode" in inspect.signature(type(model).__call__).parameters


Choice = Sampling | BeamSearch
Write = Callable[[TrainState, Mapping[str, Array], PRNGKeyArray], Array]


@functools.lru_cache(maxsize=16)
def compiled(writer: Writer, mesh: Mesh, choice: Choice, length: int) -> Write:
    """A compiled function, the same object for equal arguments: state, batch, key of random numbers -> tokens.

    The batch lies on the mesh, and holds `source` and `source_mask`, or beginnings `tokens` and their `mask`. All
    processes get all tokens [B, length], of the best sequence if there are several.
    """
    gather = functools.partial(meshes.gather_for_use, mesh)

    def write(state: TrainState, batch: Mapping[str, Array], key: PRNGKeyArray) -> Int[Array, "B length"]:
        given = (writer, evaluated_variables(state, gather), writer.read(batch), writer.prompt(batch))
        if isinstance(choice, Sampling):
            return sample(*given, length=length, sampling=choice, key=key)
        return beam_search(*given, length=length, num_beams=choice.num_beams, alpha=choice.alpha)[0][:, 0]

    return jax.jit(write, out_shardings=meshes.replicated(mesh))


def sample(
    writer: Writer,
    variables: PyTree,
    inputs: Mapping[str, Array],
    prompt: Int[Array, "B P"],
    *,
    length: int,
    sampling: Sampling,
    key: PRNGKeyArray,
) -> Int[Array, "B length"]:
    """Continues `prompt` by `length` tokens, or to the end token.

    Args:
        writer: The model.
        variables: Its parameters and other collections.
        inputs: What it reads besides: the source and its mask, or the mask of a padded prompt.
        prompt: The tokens to begin with; for a model with a source, its start token.
        length: Tokens to write at most.
        sampling: How each is drawn.
        key: Of the random numbers.
    """
    batch_size = len(prompt)
    cache = writer.empty_cache(inputs, batch_size, prompt.shape[1] + length - 1)  # the last token is never read

    def put(place: Array, written: Array, ended: Array, logits: Array) -> tuple[Array, Array, Array]:
        token = sampling.draw(jax.random.fold_in(key, place), logits).astype(jnp.int32)
        token = jnp.where(ended, writer.pad_token, token)
        if writer.end_token is not None:
            ended = ended | (token == writer.end_token)
        return place + 1, written.at[:, place].set(token), ended

    def body(carry: tuple[Any, ...]) -> Any:
        place, written, ended, cache = carry
        last = lax.dynamic_slice_in_dim(written, place - 1, 1, axis=1)
        logits, cache = writer.extend(variables, cache, last, {})
        return *put(place, written, ended, logits), cache

    def unfinished(carry: tuple[Any, ...]) -> Bool[Array, ""]:
        return (carry[0] < length) & ~carry[2].all()

    logits, cache = writer.extend(variables, cache, prompt, inputs)
    written = jnp.full((batch_size, length), writer.pad_token, jnp.int32)
    start = put(jnp.zeros((), jnp.int32), written, jnp.zeros(batch_size, bool), logits)
    return lax.while_loop(unfinished, body, (*start, cache))[1]


def length_penalty(length: Array | int, alpha: float) -> Array:
    """What the log-probability of a sequence is divided by (Wu et al., 2016, eq. 14)."""
    return ((5 + jnp.asarray(length, jnp.float32)) / 6) ** alpha


@dataclasses.dataclass(frozen=True)
class Beam:
    """Sequences of each row that are still being written, and the best that have ended, with their scores.

    Attributes:
        place: tokens written so far.
        live: [B, beams, length], and `live_scores`: sums of log-probabilities.
        ended: [B, beams, length], and `ended_scores`: the same, divided by the length penalty.
        cache: of the live sequences, rows and beams in one axis.
    """

    place: Array
    live: Array
    live_scores: Array
    ended: Array
    ended_scores: Array
    cache: PyTree


jax.tree_util.register_dataclass(Beam)


def beam_search(
    writer: Writer,
    variables: PyTree,
    inputs: Mapping[str, Array],
    prompt: Int[Array, "B P"],
    *,
    length: int,
    num_beams: int,
    alpha: float = 0.6,
) -> tuple[Int[Array, "B beams length"], Float[Array, "B beams"]]:
    """The `num_beams` best continuations that a beam search finds, best first, and their scores.

    A score is the log-probability over the length penalty, with the end token counted. Of the 2 · `num_beams` likeliest
    continuations of each step, those that end are candidates, and the best of the others go on. A sequence that has not
    ended after `length` tokens is scored as it stands.

    Args:
        writer, variables, inputs, prompt, length: As of `sample`.
        num_beams: Sequences that are kept.
        alpha: Of the length penalty; 0 compares sums, 1 about means.
    """
    batch_size = len(prompt)
    longest = prompt.shape[1] + length - 1  # the last token is never read
    axes = writer.batch_axes(inputs, longest)
    cache = writer.empty_cache(inputs, batch_size, longest)
    logits, cache = writer.extend(variables, cache, prompt, inputs)
    shape = (batch_size, num_beams)
    empty = Beam(
        place=jnp.zeros((), jnp.int32),
        live=jnp.full((*shape, length), writer.pad_token, jnp.int32),
        live_scores=jnp.full(shape, NEVER).at[:, 0].set(0.0),  # the beams are equal as yet: one stands for all
        ended=jnp.full((*shape, length), writer.pad_token, jnp.int32),
        ended_scores=jnp.full(shape, NEVER),
        cache=_of_beams(cache, jnp.zeros(shape, jnp.int32), axes),
    )
    start = _choose(writer, empty, jnp.repeat(logits[:, None], num_beams, axis=1), axes, alpha)

    def unfinished(beam: Beam) -> Bool[Array, ""]:
        # What a live sequence can reach at best: log-probabilities only fall, penalties only grow.
        reachable = beam.live_scores.max(axis=1) / length_penalty(length, alpha)
        return (beam.place < length) & (reachable > beam.ended_scores.min(axis=1)).any()

    def body(beam: Beam) -> Beam:
        last = lax.dynamic_slice_in_dim(beam.live, beam.place - 1, 1, axis=2)
        logits, cache = writer.extend(variables, beam.cache, last.reshape(-1, 1), {})
        return _choose(writer, dataclasses.replace(beam, cache=cache), logits.reshape(*shape, -1), axes, alpha)

    last = lax.while_loop(unfinished, body, start)
    unended = last.live_scores / length_penalty(length, alpha)
    unended = jnp.where(last.place == length, unended, NEVER)
    sequences = jnp.concatenate([last.ended, last.live], axis=1)
    return _best(sequences, jnp.concatenate([last.ended_scores, unended], axis=1), num_beams)


def _choose(writer: Writer, beam: Beam, logits: Float[Array, "B beams V"], axes: PyTree, alpha: float) -> Beam:
    """One more token for all beams, given the logits of what follows the live sequences."""
    batch_size, num_beams, vocabulary = logits.shape
    scores = beam.live_scores[:, :, None] + jax.nn.log_softmax(logits.astype(jnp.float32))
    # Twice as many as needed, since the best half of them may end.
    count = min(2 * num_beams, num_beams * vocabulary)
    scores, chosen = lax.top_k(scores.reshape(batch_size, -1), count)
    parents, tokens = chosen // vocabulary, (chosen % vocabulary).astype(jnp.int32)
    sequences = jnp.take_along_axis(beam.live, parents[:, :, None], axis=1).at[:, :, beam.place].set(tokens)
    ends = tokens == (-1 if writer.end_token is None else writer.end_token)

    finished = jnp.where(ends, scores / length_penalty(beam.place + 1, alpha), NEVER)
    ended, ended_scores = _best(
        jnp.concatenate([beam.ended, sequences], axis=1),
        jnp.concatenate([beam.ended_scores, finished], axis=1),
        num_beams,
    )
    live_scores, kept = lax.top_k(jnp.where(ends, NEVER, scores), num_beams)
    return Beam(
        place=beam.place + 1,
        live=jnp.take_along_axis(sequences, kept[:, :, None], axis=1),
        live_scores=live_scores,
        ended=ended,
        ended_scores=ended_scores,
        cache=_of_beams(beam.cache, jnp.take_along_axis(parents, kept, axis=1), axes),
    )


def _best(sequences: Array, scores: Array, count: int) -> tuple[Array, Array]:
    scores, order = lax.top_k(scores, count)
    return jnp.take_along_axis(sequences, order[:, :, None], axis=1), scores


def _of_beams(cache: PyTree, chosen: Int[Array, "B beams"], axes: PyTree) -> PyTree:
    """The cache of the chosen sequences of each row.

    Rows are never mixed, and it is said so that the compiler sees it: each device keeps its own.
    """

    def pick(leaf: Array, axis: int) -> Array:
        if axis < 0:
            return leaf
        before, after = leaf.shape[:axis], leaf.shape[axis + 1 :]
        rows = leaf.reshape(*before, len(chosen), -1, *after)
        take = functools.partial(jnp.take, axis=axis)
        picked = jax.vmap(take, in_axes=(axis, 0), out_axes=axis)(rows, chosen)
        return picked.reshape(*before, -1, *after)

    return jax.tree.map(pick, cache, axes)


def one_line(text: str) -> str:
    r"""A text that is written has a line for itself: a line break within it becomes \n."""
    return text.replace("\n", r"\n")
