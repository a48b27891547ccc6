"""Sound moves in time, and what moves in is silence."""

import numpy as np
import pytest

from train.data.augmentations import random_time_shift
from train.errors import UserError


def test_sound_moves_later_or_earlier():
    audio = np.tile(np.arange(1, 6, dtype=np.float32), (3, 1))
    moved = random_time_shift.Augmentation(9).apply(audio, np.array([0, 2, -9]))
    np.testing.assert_array_equal(moved, [[1, 2, 3, 4, 5], [0, 0, 1, 2, 3], [0, 0, 0, 0, 0]])
    assert moved.dtype == np.float32


def test_all_shifts_are_drawn():
    draws = random_time_shift.Augmentation(2).draw(np.random.default_rng(0), 100)
    assert set(draws) == {-2, -1, 0, 1, 2}


def test_no_shift_below_zero():
    with pytest.raises(UserError, match="random_time_shift.samples: -1 is less than 0"):
        random_time_shift.Augmentation(-1)
