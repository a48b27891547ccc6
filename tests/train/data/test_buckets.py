"""Batches of texts of similar length: as little padding as needed, and otherwise the batches of any data."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import archs
from train import objectives
from train.data import Data, EvaluationBatches, TrainingBatches
from train.data.layouts import language, text, text_pair, translation
from train.data.sources import adding, parallel_text, tsv
from train.data.sources import text as plain_text
from train.data.tokenizers import word
from train.errors import UserError
from train.objectives import classification, language_modeling, sequence_to_sequence

ALL = slice(0, None)
BUCKETS = (4, 8, 12)
SIZE = 8  # of a batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """100 training texts of 1 to 12 words, as a table with pairs and classes, and side by side."""
    place = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    for split, count in (("train", 100), ("test", 11)):
        first, second = (
            [" ".join(rng.choice(list("abcdefgh"), rng.integers(1, 13))) for _ in range(count)] for _ in range(2)
        )
        rows = [f"{a}\t{b}\t{len(a) % 2}\n" for a, b in zip(first, second, strict=True)]
        (place / f"{split}.tsv").write_text("".join(rows))
        (place / f"{split}.en").write_text("\n".join(first) + "\n")
        (place / f"{split}.de").write_text("\n".join(second) + "\n")
    return place


def data(folder, kind: str = "text", **fields: Any) -> Data:
    table = tsv.Source(str(folder), test="test.tsv", label=2, text_pair=1)
    source, layout = {
        "text": (table, text.Layout(14)),
        "text_pair": (table, text_pair.Layout(30)),
        "translation": (parallel_text.Source(str(folder), validation=None), translation.Layout(14)),
    }[kind]
    return Data(source, SIZE, tokenizer=word.Tokenizer(), layout=layout, **{"length_buckets": BUCKETS, **fields})


def training(given: Data, step: int, rows: slice = ALL, seed: int = 0) -> dict[str, np.ndarray]:
    return TrainingBatches(given, None, seed, 10_000, rows)[step]


MASKS = {
    "text": {"tokens": "mask"},
    "text_pair": {"tokens": "mask", "token_types": "mask"},
    "translation": {"source": "source_mask", "target": "target_mask"},
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("parts", [2, 8])
def test_a_process_gets_its_rows_of_the_global_batch(kind, parts, folder):
    given, size = data(folder, kind), SIZE // parts
    for step in (0, 5, 12, 13, 40):  # an epoch ends within step 12
        whole = training(given, step)
        rows = [training(data(folder, kind), step, slice(i * size, (i + 1) * size)) for i in range(parts)]
        for key, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([part[key] for part in rows]), value)


def test_a_batch_depends_on_seed_and_step_alone(folder):
    given = data(folder)
    later_first = [training(data(folder), step)["tokens"] for step in (33, 2)]
    for step, tokens in zip((33, 2), later_first, strict=True):
        np.testing.assert_array_equal(training(given, step)["tokens"], tokens)
    assert not np.array_equal(training(given, 2, seed=1)["tokens"], later_first[1])


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("batch_size", [7, 8, 64, 200])
def test_every_epoch_holds_every_example_once(kind, batch_size, folder):
    given = data(folder, kind)
    orders = [Data.order.__wrapped__(given, seed=3, epoch=epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(100))
    assert not np.array_equal(orders[0], orders[1])


@pytest.mark.parametrize("kind", MASKS)
def test_a_batch_is_as_long_as_its_bucket(kind, folder):
    given, whole = data(folder, kind), data(folder, kind, length_buckets=())
    widths = set()
    longest = {"text": 14, "text_pair": 30, "translation": 14}[kind]
    for step in range(13):
        batch = training(given, step)
        needed = max(batch[mask].sum(1).max() for mask in MASKS[kind].values())
        width = next((bucket for bucket in BUCKETS if bucket >= needed), longest)
        assert {batch[name].shape[1] for names in MASKS[kind].items() for name in names} == {width}
        widths.add(width)
    assert len(widths) > 1
    examples = whole.split("train")
    batch = given.batch(given.split("train"), np.arange(SIZE), ALL)
    full = examples[np.arange(SIZE)]
    for name, mask in MASKS[kind].items():
        for row in range(SIZE):
            np.testing.assert_array_equal(batch[name][row][batch[mask][row]], full[name][row][full[mask][row]])


def test_texts_of_similar_length_share_a_batch(folder):
    def padding(given: Data) -> float:
        return np.mean([1 - training(given, step)["mask"].mean() for step in range(12)])

    assert padding(data(folder)) < 0.5 * padding(data(folder, length_buckets=()))


def test_an_evaluation_holds_every_example_once_and_in_order(folder):
    given = data(folder)
    batches = EvaluationBatches(given, None, "test", ALL)
    labels = np.concatenate([batch["label"][batch["valid"]] for batch in (batches[0], batches[1])])
    np.testing.assert_array_equal(labels, given.split("test")[np.arange(11)]["label"])
    assert len(batches) == 2 and batches[1]["valid"].sum() == 3
    rows = EvaluationBatches(given, None, "test", slice(4, 8))[0]["tokens"]
    np.testing.assert_array_equal(rows, batches[0]["tokens"][4:8])


SMALL = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 8}
MODELS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "bert": ("text", classification.Objective(), {**SMALL, "head": "sequence", "num_classes": 2, "max_length": 14}),
    "bert of pairs": (
        "text_pair",
        classification.Objective(),
        {**SMALL, "head": "sequence", "num_classes": 2, "max_length": 30},
    ),
    "rnn": (
        "text",
        classification.Objective(),
        {"num_classes": 2, "hidden_size": 8, "bidirectional": True, "outputs": "mean"},
    ),
    "gpt": ("text", language_modeling.Objective(), {**SMALL, "max_length": 14}),
    "transformer": ("translation", sequence_to_sequence.Objective(), SMALL),
    "seq2seq": (
        "translation",
        sequence_to_sequence.Objective(),
        {"variant": "bahdanau", "hidden_size": 8, "embedding_size": 8, "alignment_size": 8, "maxout_size": 8},
    ),
}


QUICK = ("bert", "rnn", "transformer")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in MODELS])
def test_the_loss_of_a_trimmed_batch_is_that_of_the_padded_one(name, folder):
    kind, objective, fields = MODELS[name]
    given, whole = data(folder, kind), data(folder, kind, length_buckets=())
    needed = {key: size for key, size in given.sizes().items() if key.endswith("vocab_size")}
    model = archs.build(name.partition(" ")[0], **fields, **needed)
    shortest = np.argsort(np.max(list(given.split("train").lengths.values()), 0))[:SIZE]
    trimmed, padded = (
        jax.tree.map(jnp.asarray, each.prepare(each.batch(each.split("train"), shortest, ALL), None))
        for each in (given, whole)
    )
    (first, *_) = MASKS[kind]
    assert trimmed[first].shape[1] < padded[first].shape[1]
    once = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    variables = once(model.init)(jax.random.key(0), **objectives.model_inputs(model, padded))

    def loss(variables, batch):
        terms, metrics, _ = objective.loss(model, variables, batch, rngs={}, train=False)
        return objectives.total(terms), metrics

    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-5),
        *(once(loss)(variables, batch) for batch in (trimmed, padded)),
    )


def test_a_tokenizer_and_a_layout_go_together(folder):
    table = tsv.Source(str(folder))
    with pytest.raises(UserError, match="config.data.tokenizer.name: is missing"):
        Data(table, 1, layout=text.Layout(14))
    with pytest.raises(UserError, match="config.data.layout.name: is missing"):
        Data(table, 1, tokenizer=word.Tokenizer())


@pytest.mark.parametrize("buckets", [(8, 4), (4, 4), (0, 4)])
def test_buckets_must_increase(buckets):
    with pytest.raises(UserError, match="config.data.length_buckets: .* are not increasing numbers from 1 on"):
        Data(adding.Source(train_size=4), 1, length_buckets=buckets)


def test_buckets_without_sequences_to_pad_are_refused(folder):
    with pytest.raises(UserError, match="config.data.length_buckets: the data have no sequences to pad"):
        Data(adding.Source(train_size=4), 1, length_buckets=(4,)).split("train")
    windows = Data(
        plain_text.Source((str(folder / "train.en"),)),
        1,
        tokenizer=word.Tokenizer(),
        layout=language.Layout(8),
        length_buckets=(4,),
    )
    with pytest.raises(UserError, match="the data have no sequences to pad"):
        windows.split("train")
