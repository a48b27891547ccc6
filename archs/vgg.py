"""VGG (Simonyan and Zisserman, 2014, "Very deep convolutional networks for large-scale image recognition",
https://arxiv.org/abs/1409.1556).

Depth by the smallest kernel that knows left from right: three 3×3 convolutions see as much as one of 7×7 with
27 C² weights instead of 49 C², and rectify three times. Five stages of them, each ended by pooling, then three fully
connected layers. Of the 138,357,544 parameters of VGG-16 only 14,714,688 are convolutional. Variants are named by
layers with weights: columns A, B, D and E of Table 1.
"""

from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from archs.layers.convolution import ConvNorm
from archs.layers.fields import Dtype
from archs.layers.head import Head


class Model(nn.Module):
    """Stages of 3×3 convolutions, each ended by pooling, two fully connected layers and the output.

    The fully connected layers read all maps that the last pooling leaves: 7×7 of images of 224×224 pixels, for
    which the layer is the published one; other images change the size of the first.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns the last hidden layer.
        stage_sizes: Convolutions of each stage.
        hidden_sizes: Maps of each stage.
        mlp_size: Units of each of the two fully connected layers.
        normalization: After each convolution: none, as in the paper, or over the batch (Ioffe and Szegedy,
            2015), as in torchvision's networks with the suffix _bn.
        dropout_rate: Share of the units of both fully connected layers dropped in training.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "image"

    num_classes: int | None
    stage_sizes: tuple[int, ...] = (2, 2, 3, 3, 3)
    hidden_sizes: tuple[int, ...] = (64, 128, 256, 512, 512)
    mlp_size: int = 4096
    normalization: Literal["none", "batch"] = "none"
    dropout_rate: float = 0.5
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B outputs"]:
        """Raises ValueError if the image is too small, or a stage lacks its size."""
        if len(self.stage_sizes) != len(self.hidden_sizes):
            raise ValueError(
                f"vgg: stage_sizes is {self.stage_sizes} and hidden_sizes is {self.hidden_sizes}; "
                "give one of each per stage"
            )
        needed = 2 ** len(self.stage_sizes)
        if min(image.shape[1:3]) < needed:
            raise ValueError(
                f"vgg: image is {image.shape[1]}×{image.shape[2]} pixels; {len(self.stage_sizes)} stages need at "
                f"least {needed}×{needed}; resize it, VGG was made for 224×224"
            )
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        # The paper starts deep networks from trained shallow ones, which this made unnecessary (He et al., 2015).
        kernel_init = nn.initializers.he_normal()

        x = image
        for stage, (size, features) in enumerate(zip(self.stage_sizes, self.hidden_sizes, strict=True)):
            for layer in range(size):
                name = f"conv_{stage}_{layer}"
                if self.normalization == "batch":
                    x = ConvNorm(features, (3, 3), use_bias=True, **dtypes, name=name)(x, train=train)
                else:
                    x = nn.relu(nn.Conv(features, (3, 3), padding=1, kernel_init=kernel_init, **dtypes, name=name)(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        for layer in range(2):
            x = nn.relu(nn.Dense(self.mlp_size, kernel_init=kernel_init, **dtypes, name=f"dense_{layer}")(x))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Head(self.num_classes, **dtypes, name="head")(x)


VARIANTS: dict[str, dict[str, Any]] = {
    "11": {"stage_sizes": (1, 1, 2, 2, 2)},
    "13": {"stage_sizes": (2, 2, 2, 2, 2)},
    "16": {"stage_sizes": (2, 2, 3, 3, 3)},
    "19": {"stage_sizes": (2, 2, 4, 4, 4)},
}
EXAMPLE = {"image": jax.ShapeDtypeStruct((224, 224, 3), "float32")}
