"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012, "ImageNet classification with deep convolutional neural
networks", https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks).

What LeNet does with two convolutions on digits, five do on photographs: rectified units keep the gradient
alive, overlapping pooling shrinks the maps, and dropout holds back the fully connected layers, where 96 % of the
parameters are. `2012` is the paper's (60,965,224 parameters): half of the maps on each of two GPUs, which exchange
them at the third convolution only, and maps that inhibit their neighbours. `torchvision` (61,100,840) is the usual
single column (after Krizhevsky, 2014, https://arxiv.org/abs/1404.5997).
"""

from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from archs.layers.fields import Dtype
from archs.layers.head import Head

# Kernel, stride and padding of each convolution. The paper names no padding; with these, as torchvision has them, its
# 224×224 pixels leave maps of 6×6.
CONVOLUTIONS = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
SMALLEST = 63  # pixels that leave one after the three poolings


def local_response_norm(x: Float[Array, "B X Y C"]) -> Float[Array, "B X Y C"]:
    """Local response normalisation (section 3.3): divides by (2 + 0.0001 Σ a²)^0.75, the sum over 5 adjacent maps."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    across_maps = [(0, 0), (0, 0), (0, 0), (2, 2)]
    energy = lax.reduce_window(jnp.square(wide), 0.0, lax.add, (1, 1, 1, 5), (1, 1, 1, 1), across_maps)
    return (wide * (2 + 1e-4 * energy) ** -0.75).astype(x.dtype)


class Model(nn.Module):
    """Five convolutions, two fully connected layers and the output.

    The fully connected layers read all maps that the last pooling leaves: 6×6 of images of 224×224 pixels, for
    which the layer is the published one; other images change the size of the first.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns the last hidden layer.
        hidden_sizes: Maps of the five convolutions.
        mlp_size: Units of each of the two fully connected layers.
        num_groups: Groups of maps that convolutions 2, 4 and 5 keep apart.
        normalization: Of the maps after convolutions 1 and 2: none, or each divided by what its neighbours do.
        initialization: "he" draws by the number of inputs (He et al., 2015). "2012" is section 5's, meant for
            pixels between 0 and 255 without their mean: deviation 0.01, biases 1 in convolutions 2, 4, 5 and in
            the fully connected layers.
        dropout_rate: Share of the units of both fully connected layers dropped in training (section 4.2);
            torchvision drops what these layers read instead.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "image"

    num_classes: int | None
    hidden_sizes: tuple[int, ...] = (64, 192, 384, 256, 256)
    mlp_size: int = 4096
    num_groups: int = 1
    normalization: Literal["none", "local_response"] = "none"
    initialization: Literal["he", "2012"] = "he"
    dropout_rate: float = 0.5
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B outputs"]:
        """Raises ValueError if the image is too small, or `hidden_sizes` are not five that the groups divide."""
        if min(image.shape[1:3]) < SMALLEST:
            raise ValueError(
                f"alexnet: image is {image.shape[1]}×{image.shape[2]} pixels; allowed: at least "
                f"{SMALLEST}×{SMALLEST}; resize it, AlexNet was made for 224×224"
            )
        if len(self.hidden_sizes) != 5 or any(size % self.num_groups for size in self.hidden_sizes):
            raise ValueError(
                f"alexnet: hidden_sizes is {self.hidden_sizes}; give five, each divisible by "
                f"num_groups={self.num_groups}"
            )
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        as_published = self.initialization == "2012"
        kernel_init = nn.initializers.normal(0.01) if as_published else nn.initializers.he_normal()
        lifted = nn.initializers.ones if as_published else nn.initializers.zeros

        x = image
        for number, (kernel, stride, padding) in enumerate(CONVOLUTIONS, start=1):
            within_groups = number in (2, 4, 5)
            x = nn.Conv(
                self.hidden_sizes[number - 1],
                (kernel, kernel),
                strides=stride,
                padding=padding,
                feature_group_count=self.num_groups if within_groups else 1,
                kernel_init=kernel_init,
                bias_init=lifted if within_groups else nn.initializers.zeros,
                **dtypes,
                name=f"conv_{number}",
            )(x)
            x = nn.relu(x)
            if number in (1, 2) and self.normalization == "local_response":
                x = local_response_norm(x)
            if number in (1, 2, 5):
                x = nn.max_pool(x, (3, 3), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        for number in (6, 7):
            dense = nn.Dense(self.mlp_size, kernel_init=kernel_init, bias_init=lifted, **dtypes, name=f"dense_{number}")
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(nn.relu(dense(x)))
        return Head(self.num_classes, **dtypes, name="head")(x)


VARIANTS: dict[str, dict[str, Any]] = {
    "torchvision": {},
    "2012": {
        "hidden_sizes": (96, 256, 384, 384, 256),
        "num_groups": 2,
        "normalization": "local_response",
        "initialization": "2012",
    },
}
EXAMPLE = {"image": jax.ShapeDtypeStruct((224, 224, 3), "float32")}
