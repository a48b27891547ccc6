"""Pictures in files, read by Pillow.

Those with transparency are laid on white. Of one that moves, the first frame is read.
"""

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from train.data.decoded import Content
from train.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
Mode = Literal["RGB", "L"]


def decode(content: bytes, name: str, mode: Mode, image_size: int | None) -> np.ndarray:
    """The picture as bytes [X, Y, C], of 3 colours ("RGB") or gray ("L").

    With `image_size`, it is scaled by linear interpolation, smoothed before it shrinks, so that its shorter side has
    that many pixels, and of the longer the middle is kept: [image_size, image_size, C].

    Raises:
        UserError: it cannot be read, or holds more than 8 bits a colour.
    """
    from PIL import Image, ImageOps

    image = _opened(content, name)
    try:
        image.load()
    except Exception as error:  # Anything may come of decoding a damaged file.
        raise UserError(f"{name}: is no picture that can be read: {error}") from error
    if image.mode.startswith(("I", "F")):
        raise UserError(f"{name}: has more than 8 bits a colour ({image.mode}); convert it.")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert(mode)
    if image_size is not None:
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, -1)


def check_sizes(names: Sequence[str], content: Content) -> None:
    """Raises UserError if pictures differ in size, or if the head of one cannot be read."""
    sizes = {name: _opened(content(name), name).size for name in names}
    for name, (width, height) in sizes.items():
        if (width, height) != sizes[names[0]]:
            first = "x".join(map(str, sizes[names[0]]))
            raise UserError(
                f"{name}: has {width}x{height} pixels, and {names[0]} has {first}; set config.data.source.image_size "
                "to bring all to one size."
            )


def _opened(content: bytes, name: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: is no picture that can be read: its kind is not known.") from error
    except Exception as error:
        raise UserError(f"{name}: is no picture that can be read: {error}") from error


def check_image_size(image_size: int | None) -> None:
    if image_size is not None and image_size < 1:
        raise UserError(f"config.data.source.image_size: {image_size} is less than 1.")
