"""Inception v3 (Szegedy et al., 2015, https://arxiv.org/abs/1512.00567).

A block looks at its input through branches of different reach and joins what they see. Large kernels are
factorised, 5×5 into two of 3×3, 7×7 into 1×7 and 7×1, which makes the network deep and wide for its cost. The
layers are those of the authors' published code, which torchvision ports; Table 1 differs from it in the stem and
the first blocks. An auxiliary classifier on the 17×17 grid, whose loss is added in training, regularises.
"""

import functools
from typing import Any, ClassVar

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from archs.layers.convolution import ConvNorm
from archs.layers.fields import Dtype
from archs.layers.head import Head

# One convolution after the other: channels and kernel; two kernels read the same, and their outputs are joined.
Kernel = tuple[int, int]
Branch = tuple[tuple[int, Kernel] | tuple[int, Kernel, Kernel], ...]

# Epsilon and scale of the published code.
Convolution = functools.partial(ConvNorm, epsilon=1e-3, kernel_init=nn.initializers.truncated_normal(0.1))


class Block(nn.Module):
    """Branches that read the same, joined along the channels.

    Attributes:
        branches: Those of convolutions.
        pool_features: Channels of the 1×1 convolution that follows the average over 3×3 in the last branch. None
            halves the grid (Fig. 10): the last convolution of each branch has stride 2 and no padding, and the last
            branch is the maximum over 3×3, with stride 2 too.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    branches: tuple[Branch, ...]
    pool_features: int | None = None
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B rows columns D"]:
        convolution = functools.partial(Convolution, dtype=self.dtype, param_dtype=self.param_dtype)
        halve: dict[str, Any] = {"strides": 2, "padding": "none"}
        outputs = []
        for number, branch in enumerate(self.branches):
            y = x
            for depth, (features, *kernels) in enumerate(branch):
                options = halve if self.pool_features is None and depth == len(branch) - 1 else {}
                names = [f"branch_{number}_{depth}_{rows}x{columns}" for rows, columns in kernels]
                layers = [convolution(features, k, **options, name=n) for k, n in zip(kernels, names, strict=True)]
                y = jnp.concatenate([layer(y, train=train) for layer in layers], axis=-1)
            outputs.append(y)
        if self.pool_features is None:
            pooled = nn.max_pool(x, (3, 3), strides=(2, 2))
        else:  # zeros of the padding are part of the average, as in torchvision
            pooled = nn.avg_pool(x, (3, 3), strides=(1, 1), padding=((1, 1), (1, 1)))
            pooled = convolution(self.pool_features, (1, 1), name="pool")(pooled, train=train)
        return jnp.concatenate([*outputs, pooled], axis=-1)


class AuxiliaryHead(nn.Module):
    """Classifier on the 17×17 grid; of a larger grid it reads the mean over all 5×5 windows.

    Attributes:
        num_classes: As of `Head`.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    num_classes: int | None
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B outputs"]:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = nn.avg_pool(x, (5, 5), strides=(3, 3))
        x = Convolution(128, (1, 1), **dtypes, name="conv_0")(x, train=train)
        x = Convolution(768, (5, 5), padding="none", **dtypes, name="conv_1")(x, train=train)
        return Head(self.num_classes, **dtypes, name="head")(x.mean(axis=(1, 2)))


def block_35(pool_features: int) -> dict[str, Any]:
    """Fig. 5, with 5×5 in one of the branches, as the published code has it."""
    return {
        "branches": (
            ((64, (1, 1)),),
            ((48, (1, 1)), (64, (5, 5))),
            ((64, (1, 1)), (96, (3, 3)), (96, (3, 3))),
        ),
        "pool_features": pool_features,
    }


def block_17(width: int) -> dict[str, Any]:
    """Fig. 6, with n = 7."""
    row, column = (1, 7), (7, 1)
    return {
        "branches": (
            ((192, (1, 1)),),
            ((width, (1, 1)), (width, row), (192, column)),
            ((width, (1, 1)), (width, column), (width, row), (width, column), (192, row)),
        ),
        "pool_features": 192,
    }


HALVE_35: dict[str, Any] = {
    "branches": (
        ((384, (3, 3)),),
        ((64, (1, 1)), (96, (3, 3)), (96, (3, 3))),
    )
}
HALVE_17: dict[str, Any] = {
    "branches": (
        ((192, (1, 1)), (320, (3, 3))),
        ((192, (1, 1)), (192, (1, 7)), (192, (7, 1)), (192, (3, 3))),
    )
}
BLOCK_8: dict[str, Any] = {  # Fig. 7
    "branches": (
        ((320, (1, 1)),),
        ((384, (1, 1)), (384, (1, 3), (3, 1))),
        ((448, (1, 1)), (384, (3, 3)), (384, (1, 3), (3, 1))),
    ),
    "pool_features": 192,
}

BLOCKS = [
    *(block_35(pool_features) for pool_features in (32, 64, 64)),
    HALVE_35,
    *(block_17(width) for width in (128, 160, 160, 192)),
    HALVE_17,
    BLOCK_8,
    BLOCK_8,
]
AUXILIARY = BLOCKS.index(HALVE_17) - 1  # whose output the auxiliary head reads


class Model(nn.Module):
    """A plain convolutional stem, eleven blocks, the mean over all places, and a linear head.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns the means, for `auxiliary=False` only.
        auxiliary: Whether there is an auxiliary head. In training, it sows its outputs as "logits" into the
            collection "auxiliary"; in evaluation, it is not computed.
        dropout_rate: Share of the means dropped before the head, in training.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "image"

    num_classes: int | None
    auxiliary: bool = True
    dropout_rate: float = 0.5
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B outputs"]:
        """Raises ValueError if the image is too small, or if the auxiliary head has no classes to tell apart."""
        needed = 299 if self.auxiliary else 75
        if min(image.shape[1:3]) < needed:
            remedy = "resize it, or set auxiliary=False, which needs 75×75" if self.auxiliary else "resize it"
            raise ValueError(
                f"inception: image is {image.shape[1]}×{image.shape[2]} pixels; auxiliary={self.auxiliary} needs at "
                f"least {needed}×{needed}: {remedy}"
            )
        if self.auxiliary and self.num_classes is None:
            raise ValueError(
                "inception: num_classes is None, so the auxiliary head has nothing to tell apart; "
                "give num_classes, or set auxiliary=False"
            )
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        convolution = functools.partial(Convolution, **dtypes)

        x = convolution(32, (3, 3), strides=2, padding="none", name="stem_0")(image, train=train)
        x = convolution(32, (3, 3), padding="none", name="stem_1")(x, train=train)
        x = convolution(64, (3, 3), name="stem_2")(x, train=train)
        x = nn.max_pool(x, (3, 3), strides=(2, 2))
        x = convolution(80, (1, 1), name="stem_3")(x, train=train)
        x = convolution(192, (3, 3), padding="none", name="stem_4")(x, train=train)
        x = nn.max_pool(x, (3, 3), strides=(2, 2))
        for number, block in enumerate(BLOCKS):
            x = Block(**block, **dtypes, name=f"block_{number}")(x, train=train)
            if self.auxiliary and number == AUXILIARY and (train or self.is_initializing()):
                logits = AuxiliaryHead(self.num_classes, **dtypes, name="auxiliary_head")(x, train=train)
                if not self.is_initializing():  # else the logits would be taken for variables
                    self.sow("auxiliary", "logits", logits)
        x = x.mean(axis=(1, 2))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Head(self.num_classes, **dtypes, name="head")(x)


VARIANTS: dict[str, dict[str, Any]] = {"v3": {"auxiliary": True}, "v3-no-aux": {"auxiliary": False}}
EXAMPLE = {"image": jax.ShapeDtypeStruct((299, 299, 3), "float32")}
