"""Positions for images of another size than those of a folder: interpolated on the grid of patches.

No field of a model says how large images are, only how many positions it has; so grids must be square.
"""

import logging

import numpy as np

from archs.vit import resize_positions
from train.pretrained.settings import square_side
from train.pretrained.tables import Shape, Tensor

log = logging.getLogger(__name__)


def grids(tensor: Tensor, shape: Shape) -> tuple[int, int] | None:
    """Patches in a row there and here, if what has this shape there can be interpolated; else None."""
    wanted = tensor.their_shape
    if not tensor.entry.is_grid or len(shape) != len(wanted):
        return None
    there, here = square_side(shape[-2]), square_side(wanted[-2])
    is_like = (*shape[:-2], shape[-1]) == (*wanted[:-2], wanted[-1])
    return (there, here) if is_like and there and here else None


def resize(tensor: Tensor, value: np.ndarray, name: str) -> np.ndarray:
    """The value for the grid here, in at least float32, with a warning; itself if that is the grid there."""
    sides = grids(tensor, value.shape)
    if sides is None or sides[0] == sides[1]:
        return value
    there, here = sides
    log.warning("%s is interpolated from %d² to %d² patches, for images of another size", name, there, here)
    embedding = value.reshape(value.shape[-2:]).astype(np.promote_types(value.dtype, np.float32))
    resized = resize_positions({"token": None, "positions": {"embedding": embedding}}, here, here)
    return np.asarray(resized["positions"]["embedding"]).reshape(tensor.their_shape)
