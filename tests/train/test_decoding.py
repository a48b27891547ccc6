"""Decoding against exhaustive search, and its choices by their definition."""

import functools
import itertools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from train.decoding import Sampling, Writer, beam_search, length_penalty, sample
from train.errors import UserError

END, START, VOCABULARY, LENGTH = 1, 0, 4, 4
SIZES = {"source_vocab_size": 6, "target_vocab_size": VOCABULARY, "hidden_size": 8}
MODELS = {
    "transformer": archs.build(
        "transformer", **SIZES, tied="output", num_layers=2, num_heads=2, mlp_size=16, scan_layers=True
    ),
    "seq2seq": archs.build("seq2seq", **SIZES, embedding_size=4),
    "fixed": archs.build("seq2seq", **SIZES, embedding_size=4, attention="none", cell="lstm", initial_state="copy"),
}
RNG = np.random.default_rng(0)
INPUTS = {
    "source": jnp.asarray(RNG.integers(6, size=(3, 5)), jnp.int32),
    "source_mask": jnp.asarray(np.arange(5)[None] < np.array([[5], [2], [4]])),
}
PROMPT = jnp.full((3, 1), START)
models = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def built():
    return {}


@pytest.fixture
def writer(name, built):
    """A writer and variables that make it neither sure nor indifferent."""
    model = MODELS[name]
    if name not in built:
        shapes = jax.eval_shape(model.init, jax.random.key(0), **INPUTS, target=PROMPT)
        rng = np.random.default_rng(1)
        built[name] = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.7, leaf.shape), jnp.float32), shapes)
    return Writer(model, END), built[name]


def log_probabilities(model, variables, sequence):
    """Of one sequence for all rows, token by token, uncached."""
    target = jnp.asarray([sequence] * 3, jnp.int32)
    logits = apply(model, variables, target)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, :, None], axis=-1)[..., 0]
    return np.asarray(chosen)


@functools.partial(jax.jit, static_argnums=0)
def apply(model, variables, target):
    return model.apply(variables, **INPUTS, target=target)


def all_sequences():
    """Every sequence that ends within LENGTH tokens, and those that have not ended after it."""
    for length in range(1, LENGTH + 1):
        for body in itertools.product([0, 2, 3], repeat=length - 1):
            yield (*body, END)
    yield from itertools.product([0, 2, 3], repeat=LENGTH)


@pytest.mark.slow
@models
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_wide_beam_finds_what_exhaustive_search_finds(writer, alpha):
    writer, variables = writer
    scores = {}
    for sequence in all_sequences():
        padded = (*sequence, *[0] * (LENGTH - len(sequence)))
        chosen = log_probabilities(writer.model, variables, padded)[:, : len(sequence)]
        scores[padded] = chosen.sum(1) / float(length_penalty(len(sequence), alpha))
    search = jax.jit(functools.partial(beam_search, writer, length=LENGTH, num_beams=40, alpha=alpha))
    found, found_scores = search(variables, INPUTS, PROMPT)
    for row in range(3):
        ranked = sorted(scores, key=lambda sequence: -scores[sequence][row])[:5]
        np.testing.assert_array_equal(found[row, :5], ranked)
        np.testing.assert_allclose(found_scores[row, :5], [scores[s][row] for s in ranked], rtol=1e-4)


@models
def test_one_beam_is_greedy(writer):
    writer, variables = writer
    greedy = jax.jit(functools.partial(sample, writer, length=LENGTH, sampling=Sampling(temperature=0)))
    one = jax.jit(functools.partial(beam_search, writer, length=LENGTH, num_beams=1, alpha=0.0))
    written = greedy(variables, INPUTS, PROMPT, key=jax.random.key(0))
    live = one(variables, INPUTS, PROMPT)[0][:, 0]
    # The beam may end elsewhere than greedy decoding, where the end is not the likeliest token: compare till then.
    for row in range(3):
        ended = np.flatnonzero(np.asarray(live[row]) == END)
        until = ended[0] if ended.size else LENGTH
        np.testing.assert_array_equal(written[row, :until], live[row, :until])


@models
def test_greedy_takes_the_likeliest_token_each_time(writer):
    writer, variables = writer
    greedy = jax.jit(functools.partial(sample, writer, length=LENGTH, sampling=Sampling(temperature=0)))
    written = np.asarray(greedy(variables, INPUTS, PROMPT, key=jax.random.key(0)))
    likeliest = np.argmax(apply(writer.model, variables, jnp.asarray(written)), axis=-1)
    for row in range(3):
        ended = np.flatnonzero(written[row] == END)
        until = ended[0] + 1 if ended.size else LENGTH
        np.testing.assert_array_equal(written[row, :until], likeliest[row, :until])
        assert not written[row, until:].any(), "padding follows the end"


@pytest.mark.parametrize("name", ["seq2seq"])
def test_samples_follow_the_distribution(writer):
    """The first token, over many keys, against its probabilities."""
    writer, variables = writer
    draw = jax.jit(
        jax.vmap(lambda key: sample(writer, variables, INPUTS, PROMPT, length=1, sampling=Sampling(), key=key))
    )
    first = np.asarray(draw(jax.random.split(jax.random.key(0), 2000)))[:, :, 0]
    expected = np.asarray(jax.nn.softmax(apply(writer.model, variables, PROMPT)[:, 0]))
    for row in range(3):
        counts = np.bincount(first[:, row], minlength=VOCABULARY) / 2000
        np.testing.assert_allclose(counts, expected[row], atol=4 * np.sqrt(0.25 / 2000))


NUM_BEAMS, ALPHA, WORDS, LONGER = 4, 0.6, 8, 6
WRITERS = {
    "transformer": Writer(
        archs.build(
            "transformer", **{**SIZES, "target_vocab_size": WORDS}, tied="none", num_layers=2, num_heads=2, mlp_size=16
        ),
        END,
    ),
    "gpt": Writer(archs.build("gpt", vocab_size=WORDS, hidden_size=8, num_layers=2, num_heads=2, mlp_size=16), END),
}
MASK = jnp.asarray(np.arange(3)[None] >= np.array([[0], [1], [2]]))  # beginnings end together
BEGINNINGS = {"tokens": jnp.asarray([[2, 7, 3], [0, 4, 6], [0, 0, 5]], jnp.int32), "mask": MASK}
writers = pytest.mark.parametrize("name", WRITERS)


def given(name, seed):
    """Variables, what is read, and the prompt, for which some sequences end early and some do not."""
    model, rng = WRITERS[name].model, np.random.default_rng(seed)
    batch = BEGINNINGS if name == "gpt" else {**INPUTS, "source": jnp.asarray(rng.integers(6, size=(3, 5)), jnp.int32)}
    prompt = {} if name == "gpt" else {"target": PROMPT}
    shapes = jax.eval_shape(functools.partial(model.init, jax.random.key(0)), **batch, **prompt)

    def draw(path, leaf):  # what is added everywhere would outweigh what was written before
        by_name = {"scale": np.ones(leaf.shape), "bias": np.zeros(leaf.shape)}
        return jnp.asarray(by_name.get(path[-1].key, rng.normal(0, 0.4, leaf.shape)), jnp.float32)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    return variables, WRITERS[name].read(batch), WRITERS[name].prompt(batch)


@functools.partial(jax.jit, static_argnums=0)
def logits_of(name, variables, inputs, sequences):
    """Uncached, of sequences behind one row's inputs."""
    model, written = WRITERS[name].model, WRITERS[name].written
    rows = {key: jnp.repeat(value[None], len(sequences), axis=0) for key, value in inputs.items()}
    return model.apply(variables, **rows, **{written: sequences})


def log_probabilities_behind(name, variables, inputs, prompt, row):
    """A function from sequences to the log-probabilities [sequences, WORDS] of what follows each in this row."""
    inputs = {key: value[row] for key, value in inputs.items() if key != "mask"}
    # A padded beginning is read without its padding; what the decoder of a transformer starts with, it adds itself.
    begun = tuple(np.asarray(prompt[row])[np.asarray(MASK[row])]) if name == "gpt" else ()

    def log_probabilities(written):
        sequences = np.zeros((NUM_BEAMS, 3 + LONGER), np.int32)  # models are causal: what stands behind is not seen
        for n, words in enumerate(written):
            sequences[n, : len(begun + words)] = begun + words
        place = len(begun + written[0]) - (name == "gpt")
        logits = np.asarray(logits_of(name, variables, inputs, jnp.asarray(sequences)), np.float64)[
            : len(written), place
        ]
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    return log_probabilities


def reference_search(log_probabilities):
    """Beam search with lists, scored as in Wu et al. (2016, eq. 14), which stops at no time but the last.

    Of twice as many best continuations as there are beams, those that end are done, and the best of the others live on.
    """
    live, done = [(0.0, ())], []
    for length in range(1, LONGER + 1):
        following = log_probabilities([words for _, words in live])
        longer = [
            (total + following[n, word], (*words, word))
            for n, (total, words) in enumerate(live)
            for word in range(WORDS)
        ]
        best = sorted(longer, reverse=True)[: 2 * NUM_BEAMS]
        done += [(total / ((5 + length) / 6) ** ALPHA, words) for total, words in best if words[-1] == END]
        live = [(total, words) for total, words in best if words[-1] != END][:NUM_BEAMS]
    done += [(total / ((5 + LONGER) / 6) ** ALPHA, words) for total, words in live]
    return sorted(done, reverse=True)[:NUM_BEAMS]


@writers
def test_a_narrow_beam_prunes_as_a_search_by_lists(name):
    search = jax.jit(functools.partial(beam_search, WRITERS[name], length=LONGER, num_beams=NUM_BEAMS, alpha=ALPHA))
    for seed in range(5):
        variables, inputs, prompt = given(name, seed)
        found, scores = search(variables, inputs, prompt)
        for row in range(3):
            expected = reference_search(log_probabilities_behind(name, variables, inputs, prompt, row))
            padded = [words + (0,) * (LONGER - len(words)) for _, words in expected]
            np.testing.assert_array_equal(found[row], padded)
            np.testing.assert_allclose(scores[row], [score for score, _ in expected], rtol=1e-4)


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(temperature=1e-4), Sampling(top_k=1)])
def test_what_is_drawn_of_one_choice_is_greedy(sampling):
    """A padded beginning's continuation against the likeliest token each time, uncached."""
    write = jax.jit(functools.partial(sample, WRITERS["gpt"], length=LONGER, sampling=sampling))
    for seed in range(5):
        variables, inputs, prompt = given("gpt", seed)
        written = write(variables, inputs, prompt, key=jax.random.key(seed))
        for row in range(3):
            log_probabilities = log_probabilities_behind("gpt", variables, inputs, prompt, row)
            words = ()
            while len(words) < LONGER and END not in words:
                words += (int(log_probabilities([words])[0].argmax()),)
            np.testing.assert_array_equal(written[row], words + (0,) * (LONGER - len(words)))


LOGITS = jnp.log(jnp.asarray([[0.5, 0.05, 0.3, 0.15]]))


@pytest.mark.parametrize(
    "sampling, allowed",
    [
        (Sampling(), [0, 1, 2, 3]),
        (Sampling(top_k=2), [0, 2]),
        (Sampling(top_k=9), [0, 1, 2, 3]),
        (Sampling(top_p=0.5), [0]),
        (Sampling(top_p=0.51), [0, 2]),
        (Sampling(top_p=0.9), [0, 2, 3]),
        (Sampling(top_p=1.0), [0, 1, 2, 3]),
        (Sampling(top_k=3, top_p=0.6), [0, 2]),
    ],
)
def test_what_may_be_drawn(sampling, allowed):
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(sampling.allowed(LOGITS)[0])), allowed)


@pytest.mark.parametrize("fields", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_impossible_choices_are_refused(fields):
    (name,) = fields
    with pytest.raises(UserError, match=f"{name}: .* is out of range"):
        Sampling(**fields)
