"""ResNet (He et al., 2015, https://arxiv.org/abs/1512.03385).

A block computes what to add to its input: to pass it on unchanged it need only compute zero, and gradients reach
the first layers through the sums, so networks of 152 layers train. Variants are the columns of Table 1. Bottlenecks
are v1.5, as in torchvision and transformers: the stride sits in the 3×3 convolution, where the paper has it in the
1×1 before, which then skips three quarters of its input. With stride 1 everywhere, the small stem and circular
padding, a shift of the image only shifts all maps, so the pooled features stay the same.
"""

import functools
from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from archs.layers.convolution import ConvNorm
from archs.layers.fields import Dtype
from archs.layers.head import Head

Kind = Literal["basic", "bottleneck"]
Padding = Literal["zero", "circular"]
Downsampling = Literal["stride", "average", "blur"]

# Keeps the variance of gradients from layer to layer (He et al., 2015, https://arxiv.org/abs/1502.01852).
Convolution = functools.partial(ConvNorm, kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"))


class Block(nn.Module):
    """ReLU(x + f(x)), where f is two 3×3 convolutions, or 1×1, 3×3 and 1×1 (Fig. 5).

    Attributes:
        kind: "basic" is two convolutions, "bottleneck" three, of which the last is 4 times as wide.
        hidden_size: Channels.
        strides: Of the first 3×3 convolution, and of the shortcut.
        padding: Of the 3×3 convolutions.
        zero_init_residual: Whether f starts as zero.
        downsampling: Whether the first 3×3 convolution and the shortcut skip places, "stride", or what the one puts out
            and the other reads is averaged over `strides` by `strides` places, "average", as in CLIP (Radford et al.,
            2021, section 2.4), or blurred before places are skipped, "blur"; see `blur`.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    kind: Kind
    hidden_size: int
    strides: int
    padding: Padding
    zero_init_residual: bool
    downsampling: Downsampling = "stride"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B rows columns D"]:
        convolution = functools.partial(
            Convolution, padding=self.padding, dtype=self.dtype, param_dtype=self.param_dtype
        )
        last = functools.partial(convolution, activation=None, zero_scale=self.zero_init_residual)
        size = self.hidden_size
        pools = self.downsampling != "stride" and self.strides != 1
        strides, window = 1 if pools else self.strides, (self.strides, self.strides)

        def pool(x: Float[Array, "B X Y C"]) -> Float[Array, "B rows columns C"]:
            if not pools:
                return x
            average = self.downsampling == "average"
            return nn.avg_pool(x, window, strides=window) if average else blur(x, self.strides, self.padding)

        if self.kind == "basic":
            width = size
            y = convolution(size, (3, 3), strides=strides, name="conv_0")(x, train=train)
            y = pool(y)
            y = last(size, (3, 3), name="conv_1")(y, train=train)
        else:
            width = 4 * size
            y = convolution(size, (1, 1), name="conv_0")(x, train=train)
            y = convolution(size, (3, 3), strides=strides, name="conv_1")(y, train=train)
            y = pool(y)
            y = last(width, (1, 1), name="conv_2")(y, train=train)
        if self.strides != 1 or x.shape[-1] != width:  # option B: a projection where shapes differ
            x = convolution(width, (1, 1), strides=strides, activation=None, name="shortcut")(pool(x), train=train)
        return nn.relu(x + y)


def blur(x: Float[Array, "B X Y C"], strides: int, padding: Padding) -> Float[Array, "B rows columns C"]:
    """Weighs 3×3 places as 1, 2, 1 along each axis, then skips places (Zhang, 2019, https://arxiv.org/abs/1904.11486).

    Fine detail, which a shift of the image would move onto the places that are kept or off them, is gone before.
    """
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap" if padding == "circular" else "constant")
    return nn.avg_pool(nn.avg_pool(x, (2, 2)), (2, 2), strides=(strides, strides))


class Model(nn.Module):
    """Stem, stages of residual blocks, the mean over all places, and a linear head.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns the means.
        block: "basic" or "bottleneck"; see `Block`.
        stage_sizes: Blocks of each stage.
        hidden_sizes: Channels of each stage; those of the stem are the first stage's. Bottlenecks put out 4
            times as many.
        stage_strides: Stride of the first block of each stage.
        stem: "imagenet" is a 7×7 convolution and 3×3 maximum pooling, both of stride 2; "small" is one 3×3
            convolution of stride 1, for images of about 32×32.
        padding: With zeros, or with the opposite edge of the image, as if it were a torus.
        zero_init_residual: Whether the last normalisation of each block starts with scale 0, so that each
            block starts as its shortcut (Goyal et al., 2017, https://arxiv.org/abs/1706.02677). The paper and
            torchvision's default do not.
        downsampling: How stages after the first come to have fewer places: by convolutions of a stride, or by averages
            or blurs after convolutions without; see `Block`. The stem stays as it is.
        dropout_rate: Share of the means dropped before the head, in training.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "image"

    num_classes: int | None
    block: Kind = "bottleneck"
    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    hidden_sizes: tuple[int, ...] = (64, 128, 256, 512)
    stage_strides: tuple[int, ...] = (1, 2, 2, 2)
    stem: Literal["imagenet", "small"] = "imagenet"
    padding: Padding = "zero"
    zero_init_residual: bool = False
    downsampling: Downsampling = "stride"
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B outputs"]:
        """Raises ValueError if the stages' sizes, channels and strides are not as many, or a stride is below 1."""
        lengths = len(self.stage_sizes), len(self.hidden_sizes), len(self.stage_strides)
        if len(set(lengths)) != 1 or 0 in lengths:
            raise ValueError(
                "resnet: stage_sizes, hidden_sizes and stage_strides have {}, {} and {} entries; give each of them "
                "one entry per stage, and at least one".format(*lengths)
            )
        if min(self.stage_strides) < 1:
            raise ValueError(f"resnet: stage_strides is {self.stage_strides}; allowed: at least 1")
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        x = self.apply_stem(image, train)
        stages = zip(self.stage_sizes, self.hidden_sizes, self.stage_strides, strict=True)
        for stage, (blocks, hidden_size, strides) in enumerate(stages):
            for block in range(blocks):
                x = Block(
                    kind=self.block,
                    hidden_size=hidden_size,
                    strides=1 if block else strides,
                    padding=self.padding,
                    zero_init_residual=self.zero_init_residual,
                    downsampling=self.downsampling,
                    **dtypes,
                    name=f"stage_{stage}_block_{block}",
                )(x, train=train)
        x = x.mean(axis=(1, 2))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Head(self.num_classes, **dtypes, name="head")(x)

    def apply_stem(self, image: Float[Array, "B X Y C"], train: bool) -> Float[Array, "B rows columns D"]:
        convolution = functools.partial(
            Convolution, self.hidden_sizes[0], padding=self.padding, dtype=self.dtype, param_dtype=self.param_dtype
        )
        if self.stem == "small":
            return convolution((3, 3), name="stem")(image, train=train)
        x = convolution((7, 7), strides=2, name="stem")(image, train=train)
        if self.padding == "zero":
            return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        return nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap"), (3, 3), strides=(2, 2))


VARIANTS: dict[str, dict[str, Any]] = {
    "18": {"block": "basic", "stage_sizes": (2, 2, 2, 2)},
    "34": {"block": "basic", "stage_sizes": (3, 4, 6, 3)},
    "50": {"block": "bottleneck", "stage_sizes": (3, 4, 6, 3)},
    "101": {"block": "bottleneck", "stage_sizes": (3, 4, 23, 3)},
    "152": {"block": "bottleneck", "stage_sizes": (3, 8, 36, 3)},
}
EXAMPLE = {"image": jax.ShapeDtypeStruct((224, 224, 3), "float32")}
