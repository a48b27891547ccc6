"""Batches are a function of (seed, step) alone, whole or in parts, and nothing is lost at the end of a split."""

import dataclasses
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.core import FrozenDict
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data import Data, EvaluationBatches, TrainingBatches, resize, shuffled, views
from train.data.augmentations import random_shift
from train.data.feeding import on_devices
from train.data.sources import adding, captioned_digits, digits, tfds, transduction
from train.errors import UserError
from train.mesh import MeshShape

ALL = slice(0, None)


def data(**fields) -> Data:
    return Data(source=digits.Source(), batch_size=fields.pop("batch_size", 32), **fields)


AUGMENTED = {"augmentation": FrozenDict(random_shift=random_shift.Augmentation(2))}


def test_digits_split_by_index():
    train, test = (digits.Source().split(name) for name in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360)
    everything = digits.Source().split("test")[np.arange(360)]
    assert everything["image"].shape == (360, 8, 8, 1) and everything["image"].max() == 1
    from sklearn.datasets import load_digits

    np.testing.assert_array_equal(everything["label"], load_digits().target[::5])


@pytest.mark.parametrize("parts", [1, 2, 8])
def test_a_process_gets_its_rows_of_the_global_batch(parts):
    whole = TrainingBatches(data(**AUGMENTED), "rows", seed=3, steps=100, rows=ALL)
    size = 32 // parts
    for step in (0, 44, 45, 99):  # an epoch ends within step 44
        rows = [
            TrainingBatches(whole.data, "rows", 3, 100, slice(i * size, (i + 1) * size))[step] for i in range(parts)
        ]
        for key, value in whole[step].items():
            np.testing.assert_array_equal(np.concatenate([part[key] for part in rows]), value)


def test_another_seed_is_another_order():
    first, second = (TrainingBatches(data(), "flat", seed, 10, ALL)[0]["label"] for seed in (0, 1))
    assert not np.array_equal(first, second)


@given(size=st.integers(1, 50), seed=st.integers(0, 9), epoch=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_every_epoch_holds_every_example_once(size, seed, epoch):
    def order(epoch):
        return np.random.default_rng((seed, epoch)).permutation(size)

    indices = shuffled(order, size, np.arange(epoch * size, (epoch + 1) * size))
    assert sorted(indices) == list(range(size))


def test_epochs_differ():
    first, second = (data().order(0, epoch) for epoch in range(2))
    assert sorted(first) == sorted(second) == list(range(1437)) and not np.array_equal(first, second)


@pytest.mark.parametrize("start", [0, 7])
def test_devices_get_the_same_batches_from_any_start(start):
    batches = TrainingBatches(data(cache=True, **AUGMENTED), "image", seed=0, steps=12, rows=slice(0, 32))
    given = list(on_devices(batches, MeshShape().build(), start=start))
    assert len(given) == 12 - start
    for step, batch in enumerate(given, start):
        for key, value in batches[step].items():
            np.testing.assert_array_equal(np.asarray(batch[key]), value)


@pytest.mark.slow
def test_worker_processes_change_nothing():
    batches = TrainingBatches(data(**AUGMENTED), "flat", seed=0, steps=6, rows=slice(0, 32))
    working = dataclasses.replace(batches, data=dataclasses.replace(batches.data, workers=2))
    mesh = MeshShape().build()
    for ours, theirs in zip(on_devices(batches, mesh), on_devices(working, mesh), strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_the_last_evaluation_batch_is_filled_up_and_marked():
    batches = EvaluationBatches(data(batch_size=100), "flat", "test", slice(0, 100))
    assert len(batches) == 4
    last = batches[3]
    assert last["features"].shape == (100, 64)
    np.testing.assert_array_equal(last["valid"], np.arange(100) < 60)
    labels = np.concatenate([batches[i]["label"][batches[i]["valid"]] for i in range(len(batches))])
    np.testing.assert_array_equal(labels, digits.Source().split("test")[np.arange(360)]["label"])


def test_validation_is_held_out_of_training():
    held = data(validation_fraction=0.2)
    train, validation = (held.split(name) for name in ("train", "validation"))
    assert (len(train), len(validation)) == (1437 - 287, 287)
    assert not set(train.chosen) & set(validation.chosen)
    less = data(validation_fraction=0.2, train_fraction=0.1).split("train")
    assert len(less) == 115 and set(less.chosen) <= set(train.chosen)


def test_a_cache_gives_what_the_source_gives():
    plain, cached = data().split("train"), data(cache=True).split("train")
    for indices in (np.array([3, 3, 9]), np.array([9, 1]), np.arange(len(plain))):
        jax.tree.map(np.testing.assert_array_equal, cached[indices], plain[indices])


@pytest.mark.parametrize("view, shape", [("image", (8, 8, 1)), ("rows", (8, 8)), ("pixels", (64, 1)), ("flat", (64,))])
def test_views_hold_the_same_numbers(view, shape):
    image = digits.Source().split("test")[np.arange(3)]["image"]
    (value,) = views.VIEWS[view](image).values()
    assert value.shape == (3, *shape)
    np.testing.assert_array_equal(value.ravel(), image.ravel())


def test_grey_levels_are_tokens():
    image = np.asarray([[[[0, 0, 0], [255, 255, 255]], [[128, 128, 128], [0, 255, 0]]]], np.uint8)
    tokens = views.VIEWS["tokens"](views.scale(image))["tokens"]
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens, [[0, 255, 128, 85]])


def test_bytes_are_scaled():
    np.testing.assert_array_equal(views.scale(np.array([0, 255], np.uint8)), np.array([0, 1], np.float32))


def test_pixels_change_places_alike_in_every_image():
    image = np.arange(2 * 4 * 4).reshape(2, 4, 4, 1).astype(np.float32)
    moved = views.permute_pixels(image, seed=5)
    np.testing.assert_array_equal(moved[1] - moved[0], np.full((4, 4, 1), 16))
    assert sorted(moved[0].ravel()) == sorted(image[0].ravel()) and not np.array_equal(moved, image)
    np.testing.assert_array_equal(moved, views.permute_pixels(image, seed=5))


@pytest.mark.parametrize("size", [4, 8, 13, 28])
def test_resizing_agrees_with_jax(size):
    image = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    theirs = jax.image.resize(image, (2, size, size, 3), "linear")
    np.testing.assert_allclose(resize.resize(image, size), theirs, atol=1e-5)


def test_shifting_moves_down_and_right_and_fills_with_zero():
    image = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1)
    moved = random_shift.shift(np.repeat(image, 2, 0), np.array([[1, 0], [0, -1]]))[..., 0]
    np.testing.assert_array_equal(moved[0], [[0, 0, 0], [1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(moved[1], [[2, 3, 0], [5, 6, 0], [8, 9, 0]])


@pytest.mark.parametrize("task", ["copy", "reverse"])
def test_transduction_copies_or_reverses_and_ends(task):
    source = transduction.Source(task=task, min_length=2, max_length=5, alphabet_size=3, train_size=50)
    examples = source.split("train")[np.arange(50)]
    lengths = set()
    for row in range(50):
        text = examples["source"][row][examples["source_mask"][row]]
        lengths.add(len(text))
        assert set(text) <= {2, 3, 4} and not examples["source"][row][len(text) :].any()
        target = examples["target"][row]
        np.testing.assert_array_equal(target[: len(text)], text if task == "copy" else text[::-1])
        assert target[len(text)] == 1 and not target[len(text) + 1 :].any()
        np.testing.assert_array_equal(examples["target_mask"][row], np.arange(6) <= len(text))
    assert lengths == {2, 3, 4, 5} and source.vocab_sizes == {"source_vocab_size": 5, "target_vocab_size": 5}


def test_captions_name_their_digit():
    examples = captioned_digits.Source().split("test")[np.arange(50)]
    vocabulary = ["", "<start>", *captioned_digits.WORDS, "<end>"]
    for label, tokens, mask in zip(examples["label"], examples["tokens"], examples["mask"], strict=True):
        first, *words, last = (vocabulary[token] for token in tokens[mask])
        assert (first, last) == ("<start>", "<end>") and not tokens[~mask].any()
        assert captioned_digits.NAMES[label] in words and len(set(words) & set(captioned_digits.NAMES)) == 1
    assert captioned_digits.Source.vocab_sizes == {"vocab_size": len(vocabulary)}
    again = captioned_digits.Source(seed=1).split("test")[np.arange(50)]
    assert np.any(again["tokens"] != examples["tokens"]) and np.all(again["label"] == examples["label"])


def test_transduction_joins_source_and_target():
    fields = {"min_length": 1, "max_length": 5, "train_size": 50}
    pair = transduction.Source(**fields).split("train")[np.arange(50)]
    joined = transduction.Source(**fields, layout="joined").split("train")[np.arange(50)]
    for row in range(50):
        source, target = (pair[key][row][pair[f"{key}_mask"][row]] for key in ("source", "target"))
        text = joined["tokens"][row][joined["mask"][row]]
        np.testing.assert_array_equal(text, [*source, 1, *target])
    assert joined["tokens"].shape == (50, 12) and not joined["tokens"][~joined["mask"]].any()
    assert transduction.Source(layout="joined").vocab_sizes == {"vocab_size": 10}


@pytest.mark.parametrize("fields", [{"min_length": 0}, {"min_length": 5, "max_length": 4}, {"alphabet_size": 0}])
def test_transduction_refuses_what_it_cannot_make(fields):
    with pytest.raises(UserError, match="is less than"):
        transduction.Source(**fields)


def test_adding_marks_one_step_in_each_half():
    examples = adding.Source(length=10, train_size=500, eval_size=20).split("train")[np.arange(500)]
    values, markers = examples["sequence"][..., 0], examples["sequence"][..., 1]
    np.testing.assert_array_equal(markers[:, :5].sum(1), np.ones(500))
    np.testing.assert_array_equal(markers[:, 5:].sum(1), np.ones(500))
    np.testing.assert_allclose((values * markers).sum(1), examples["target"][:, 0], rtol=1e-6)
    assert abs(np.var(examples["target"]) - 1 / 6) < 0.03, "the error of always answering the mean"


@pytest.mark.parametrize(
    "fields", [{"batch_size": 0}, {"train_fraction": 0.0}, {"validation_fraction": 1.0}, {"workers": -1}]
)
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(UserError, match="out of range"):
        data(**fields)


def test_a_validation_split_of_the_source_is_not_replaced():
    with pytest.raises(UserError, match="validation_fraction: the source has a validation split already"):
        Data(adding.Source(length=4), 1, validation_fraction=0.1).split("train")


def test_unknown_and_empty_splits_are_refused():
    with pytest.raises(UserError, match="Allowed: train, test"):
        data().split("tset")
    with pytest.raises(UserError, match="set config.data.validation_fraction"):
        data().split("validation")


class TestTfds:
    """Reading what TFDS prepared; the data set itself is found by TFDS_DATA_DIR or beside the checkout."""

    @pytest.fixture
    def folder(self) -> str:
        beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "tfds"
        folder = os.environ.get("TFDS_DATA_DIR", str(beside))
        if not (Path(folder) / "mnist").exists():
            pytest.skip("MNIST is not prepared; set TFDS_DATA_DIR")
        return folder

    def test_mnist(self, folder):
        source = tfds.Source("mnist", data_dir=folder)
        assert source.splits() == ("train", "test") and source.num_classes == 10
        examples = source.split("test")
        assert len(examples) == 10_000
        batch = examples[np.array([0, 9999])]
        assert batch["image"].shape == (2, 28, 28, 1) and batch["image"].dtype == np.uint8
        assert batch["label"].dtype == np.int32

    def test_text(self, folder):
        text = tfds.Source("tiny_shakespeare", data_dir=folder).split("test")[np.zeros(1, int)]["text"]
        assert text.shape == (1,) and isinstance(text[0], bytes)

    def test_not_prepared(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
        with pytest.raises(UserError, match="tfds build mnist --file_format=array_record --data_dir=") as error:
            tfds.Source("mnist").splits()
        assert str(tmp_path / "none") in str(error.value)
        assert list(tmp_path.iterdir()) == [], "no folder is left behind"

    def test_unknown_name(self, tmp_path):
        with pytest.raises(UserError, match="did you mean 'mnist'"):
            tfds.Source("mnst", data_dir=str(tmp_path)).splits()

    def test_unknown_version(self, tmp_path):
        with pytest.raises(UserError, match="9.0.0"):
            tfds.Source("mnist:9.0.0", data_dir=str(tmp_path)).splits()

    def test_a_missing_file_is_missed_at_once(self, folder, tmp_path):
        shutil.copytree(Path(folder) / "mnist", tmp_path / "mnist", copy_function=os.symlink)
        for file in tmp_path.rglob("*test*array_record*"):
            file.unlink()
        source = tfds.Source("mnist", data_dir=str(tmp_path))
        assert len(source.split("train")) == 60_000
        with pytest.raises(UserError, match="data set mnist, split 'test': records cannot be read, prepare it anew"):
            source.split("test")

    def test_a_damaged_description(self, folder, tmp_path):
        shutil.copytree(Path(folder) / "mnist", tmp_path / "mnist", copy_function=os.symlink)
        (file,) = tmp_path.rglob("dataset_info.json")
        file.unlink()
        file.write_text("{")
        with pytest.raises(UserError, match="data set 'mnist' in .* is damaged"):
            tfds.Source("mnist", data_dir=str(tmp_path)).splits()

    @pytest.mark.parametrize("label", [-1, 3])
    def test_labels_out_of_range(self, label):
        class Prepared(list):
            def __getitems__(self, places):
                return [self[place] for place in places]

        records = tfds.Records(Prepared([{"label": 0}, {"label": 2}, {"label": label}]), "x, split 'train'", 3)
        assert records[np.array([1, 0])]["label"].tolist() == [2, 0]
        with pytest.raises(
            UserError, match=f"x, split 'train': example 2 has the label {label}, and there are 3 classes"
        ):
            records[np.array([0, 2])]
