"""Videos of moving digits show what their labels say, and a single frame does not give it away."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from train.data import generated
from train.data.sources import moving_digits
from train.errors import UserError

SMALL = {"train_size": 200, "eval_size": 200}


def read(source, split: str = "train") -> dict[str, np.ndarray]:
    examples = source.split(split)
    return examples[np.arange(len(examples))]


def test_digits_are_in_one_split_only():
    splits = [generated.digits_of(split) for split in generated.SPLITS]
    assert [len(arrays["label"]) for arrays in splits] == [1_149, 288, 360]
    kept = [{image.tobytes() for image in arrays["image"]} for arrays in splits]
    assert len(set.union(*kept)) == sum(len(images) for images in kept) == 1_797


@pytest.mark.parametrize("speed", [1, 3])
def test_digits_move_as_their_label_says(speed):
    examples = read(moving_digits.Source(label="direction", frames=5, canvas=12, speed=speed, **SMALL))
    assert examples["video"].shape == (200, 5, 12, 12, 1) and examples["video"].dtype == np.float32
    assert set(examples["label"]) == {0, 1, 2, 3}
    for video, label in zip(examples["video"], examples["label"], strict=True):
        shift, axis = [(-speed, 0), (speed, 0), (-speed, 1), (speed, 1)][label]
        for before, after in zip(video[:-1], video[1:], strict=True):
            np.testing.assert_array_equal(np.roll(before, shift, axis), after)


def test_labels_are_digit_direction_or_both():
    digit, direction, both = (
        read(moving_digits.Source(label=label, frames=2, **SMALL)) for label in ("digit", "direction", "both")
    )
    np.testing.assert_array_equal(digit["video"], both["video"])
    np.testing.assert_array_equal(both["label"], 4 * digit["label"] + direction["label"])
    sources = [moving_digits.Source(label=label) for label in ("digit", "direction", "both")]
    assert [source.num_classes for source in sources] == [10, 4, 40]


def test_a_moving_digit_is_one_of_its_split_with_its_label():
    images = generated.digits_of("test")
    known = {image.tobytes(): label for image, label in zip(images["image"], images["label"], strict=True)}
    examples = read(moving_digits.Source(label="digit", frames=1, canvas=8, **SMALL), "test")
    for image, label in zip(examples["image"], examples["label"], strict=True):
        turned = (np.roll(image, (row, column), (0, 1)) for row in range(8) for column in range(8))
        assert label in [known[candidate.tobytes()] for candidate in turned if candidate.tobytes() in known]


def test_one_frame_is_the_middle_of_the_same_video():
    video = read(moving_digits.Source(frames=7, **SMALL))
    image = read(moving_digits.Source(frames=1, **SMALL))
    assert "video" not in image and image["image"].shape == (200, 16, 16, 1)
    np.testing.assert_array_equal(image["image"], video["video"][:, 3])
    np.testing.assert_array_equal(image["label"], video["label"])


def test_the_place_in_a_frame_does_not_depend_on_the_direction():
    examples = read(moving_digits.Source(label="direction", frames=6, canvas=16, speed=2, train_size=4_000))
    angles = np.exp(2j * np.pi * np.arange(16) / 16)
    for frame in examples["video"].transpose(1, 0, 2, 3, 4):
        for axis in (1, 2):  # the centre of mass on a circle, in 8 bins
            centre = np.angle((frame.sum(axis=(3 - axis, 3)) * angles).sum(axis=1))
            place = ((centre + np.pi) / (2 * np.pi) * 8).astype(int) % 8
            counts = stats.contingency.crosstab(examples["label"], place).count
            assert stats.chi2_contingency(counts).pvalue > 1e-3


@pytest.mark.parametrize("source", [moving_digits.Source(**SMALL)])
def test_examples_depend_on_seed_and_split_alone(source):
    for split in source.splits():
        first, again = (read(source, split) for _ in range(2))
        other = read(dataclasses.replace(source, seed=1), split)
        for key, value in first.items():
            np.testing.assert_array_equal(value, again[key])
            assert np.any(value != other[key])


@pytest.mark.parametrize("fields", [{"frames": 0}, {"canvas": 7}, {"speed": 0}, {"train_size": 0}, {"seed": -1}])
def test_moving_digits_refuse_what_they_cannot_make(fields):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .* is less than"):
        moving_digits.Source(**fields)
    with pytest.raises(UserError, match="look like 8 the other way"):
        moving_digits.Source(speed=8)
