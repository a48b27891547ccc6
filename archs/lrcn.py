"""Long-term recurrent convolutional network (Donahue et al., 2015, https://arxiv.org/abs/1411.4389).

One convolutional network reads every frame of a video by itself, and a recurrent one reads what it saw, frame after
frame: the first tells what is there, the second what happens. A fully connected layer between them keeps where things
are, which pooling over all places would forget, and with it motion. The paper's frames pass through a network for
ImageNet; here they pass through as many convolutions as `hidden_sizes` says, each rectified and pooled.
"""

from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float

from archs.layers.convolution import pads
from archs.layers.fields import Dtype
from archs.layers.head import Head
from archs.layers.recurrent import CELLS, RecurrentStack


class FrameNetwork(nn.Module):
    """Convolutions, each with ReLU and the maximum over 2×2 places, and a rectified layer over all that is left.

    Attributes:
        hidden_sizes: Channels of each convolution.
        kernel_size: Width and height of what a convolution reads.
        frame_size: Outputs.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    hidden_sizes: tuple[int, ...]
    kernel_size: int
    frame_size: int
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "N X Y C"]) -> Float[Array, "N D"]:
        """Raises ValueError if nothing is left of the image."""
        rows, columns = image.shape[1:3]
        least = 2 ** len(self.hidden_sizes)
        if min(rows, columns) < least:
            raise ValueError(
                f"lrcn: frames are {rows}×{columns} pixels, and {len(self.hidden_sizes)} convolutions need at least "
                f"{least}×{least}; enlarge them or shorten hidden_sizes"
            )
        options: dict[str, Any] = {
            "kernel_init": nn.initializers.he_normal(),
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        kernel = (self.kernel_size, self.kernel_size)
        x = image
        for number, features in enumerate(self.hidden_sizes):
            x = nn.relu(nn.Conv(features, kernel, padding=pads("zero", kernel), **options, name=f"conv_{number}")(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return nn.relu(nn.Dense(self.frame_size, **options, name="dense")(x.reshape(len(x), -1)))


class Model(nn.Module):
    """A convolutional network over each frame, recurrent layers over frames, and a linear head.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns what the head would read.
        hidden_sizes: Channels of each convolution; after each, frames have half as many rows and columns.
        kernel_size: Width and height of what a convolution reads.
        frame_size: Width of what the recurrent layers read of a frame.
        cell: The recurrent unit.
        hidden_size: Width of the state of each recurrent layer.
        num_layers: Recurrent layers.
        outputs: What the head reads: "last" the state after the last real frame, or "mean" the mean over real frames,
            so that the logits are the mean of those of all frames.
        dropout_rate: Share dropped of what is read of a frame, and of outputs of recurrent layers, in training.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "image"

    num_classes: int | None
    hidden_sizes: tuple[int, ...] = (16, 32, 64)
    kernel_size: int = 3
    frame_size: int = 128
    cell: Literal["simple", "gru", "lstm"] = "lstm"
    hidden_size: int = 128
    num_layers: int = 1
    outputs: Literal["last", "mean"] = "last"
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T X Y C"], mask: Bool[Array, "B T"] | None = None, *, train: bool = False
    ) -> Float[Array, "B outputs"]:
        """Reads the frames where `mask` is True; raises ValueError if they are too small."""
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        batch, length = video.shape[:2]
        if mask is not None:  # whatever stands in the padding, NaN included, must not reach a gradient
            video = jnp.where(mask[:, :, None, None, None], video, 0)
        drop = nn.Dropout(self.dropout_rate, deterministic=not train)
        read = FrameNetwork(self.hidden_sizes, self.kernel_size, self.frame_size, **dtypes, name="frames")
        x = read(video.reshape(-1, *video.shape[2:])).reshape(batch, length, -1)
        stack = RecurrentStack(
            CELLS[self.cell](),
            self.hidden_size,
            num_layers=self.num_layers,
            dropout_rate=self.dropout_rate,
            **dtypes,
            name="stack",
        )
        x, states = stack(drop(x), mask, train=train)
        if self.outputs == "last":
            x = states[-1][-1]
        else:  # outputs at padding are zero
            counts = length if mask is None else jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
            x = x.sum(axis=1) / jnp.asarray(counts, x.dtype)
        return Head(self.num_classes, **dtypes, name="head")(drop(x))


VARIANTS: dict[str, dict[str, Any]] = {cell: {"cell": cell} for cell in CELLS}
EXAMPLE = {"video": jax.ShapeDtypeStruct((16, 32, 32, 1), "float32")}  # 16 frames
