"""Pathfinder has two curves, each of its own, and dots that are at the ends of one or of both."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from train.data.sources import pathfinder
from train.errors import UserError


@pytest.fixture(scope="module", params=["easy", "hard"])
def curves(request) -> tuple[np.ndarray, np.ndarray]:
    return pathfinder.two_curves(np.random.default_rng(0), pathfinder.CONTOUR_LENGTHS[request.param])


def test_dashes_follow_each_other_with_gaps_and_no_sharp_turns(curves):
    dashes = curves[0]
    along = dashes[..., 1, :] - dashes[..., 0, :]
    np.testing.assert_allclose(np.linalg.norm(along, axis=-1), pathfinder.DASH)
    gaps = np.linalg.norm(dashes[:, :, 1:, 0] - dashes[:, :, :-1, 1], axis=-1)
    assert gaps.max() <= 2 * pathfinder.MARGIN + 1e-6 and gaps.min() >= np.sqrt(2) - 1e-6
    assert np.sum(along[:, :, 1:] * along[:, :, :-1], axis=-1).min() >= -1e-6
    assert dashes.min() >= pathfinder.PADDING and dashes.max() <= 31 - pathfinder.PADDING


def test_dashes_that_do_not_follow_each_other_keep_their_distance(curves):
    shares = np.linspace(0, 1, 5)[:, None]
    for one, other in curves[0][:20]:
        points = [dash[0] * (1 - shares) + dash[1] * shares for dash in (*one, *other)]
        for first in range(len(points)):
            for second in range(first):
                follows = second == first - 1 and first != len(one)
                distance = np.linalg.norm(points[first][:, None] - points[second], axis=-1).min()
                assert follows or distance > pathfinder.CLEARANCE - np.sqrt(0.5) - 0.25  # of pixels, and of points


def test_the_label_says_whether_both_dots_are_on_one_curve(curves):
    dashes = curves[0]
    label = np.arange(len(dashes)) % 2
    black = np.full((len(dashes), 40, 40), pathfinder.FAR, np.float32)
    images = pathfinder._drawn(np.random.default_rng(1), dashes, black, label)[..., 0]
    for image, pair, answer in zip(images, dashes, label, strict=True):
        begins, ends = (
            [image[tuple(np.rint(place).astype(int))] == 1 for place in places]
            for places in (pair[:, 0, 0], pair[:, -1, 1])
        )
        if sum(begins) == sum(ends) == 1:  # else the curves end side by side
            assert (begins == ends) == answer
    assert np.all((images > 0).sum(axis=(1, 2)) < 45), "nothing but the dots"


def test_images_are_what_the_curves_say(curves):
    dashes, nearest = curves
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(32), indexing="ij"), axis=-1)
    shares = np.linspace(0, 1, 201)[:, None]
    points = (dashes[0, ..., :1, :] * (1 - shares) + dashes[0, ..., 1:, :] * shares).reshape(-1, 2)
    expected = np.linalg.norm(grid[:, :, None] - points, axis=-1).min(axis=-1)
    ours = np.sqrt(nearest[0, 4:-4, 4:-4])
    np.testing.assert_allclose(ours[expected < 2.5], expected[expected < 2.5], atol=0.01)


def test_classes_are_as_common_and_as_bright():
    examples = pathfinder.Source("easy", train_size=600).split("train")[np.arange(600)]
    assert examples["image"].shape == (600, 32, 32, 1) and 0 <= examples["image"].min() < examples["image"].max() <= 1
    assert np.bincount(examples["label"]).tolist() == [300, 300]
    lit = examples["image"].sum(axis=(1, 2, 3))
    assert stats.ttest_ind(lit[examples["label"] == 0], lit[examples["label"] == 1]).pvalue > 1e-3


def test_distractors_join_where_there_is_room(curves):
    nearest = curves[1][:5]
    strewn = pathfinder._strewn(np.random.default_rng(0), nearest.copy(), 2)
    assert np.all(strewn <= nearest) and np.all((strewn < 0.25).sum(axis=(1, 2)) > (nearest < 0.25).sum(axis=(1, 2)))


def test_examples_depend_on_seed_and_split_alone():
    source = pathfinder.Source("easy", train_size=20, eval_size=20)
    sources = {"first": source, "other": dataclasses.replace(source, seed=1)}
    images = {
        (name, split): source.split(split)[np.arange(20)]["image"]
        for name, source in sources.items()
        for split in source.splits()
    }
    pathfinder._images.cache_clear()
    np.testing.assert_array_equal(images["first", "test"], source.split("test")[np.arange(20)]["image"])
    assert len({image.tobytes() for image in images.values()}) == 6


@pytest.mark.parametrize("fields", [{"train_size": 0}, {"eval_size": 0}, {"seed": -1}])
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .* is less than"):
        pathfinder.Source(**fields)
