"""One-dimensional convolutional networks, plain, for raw waveforms (Dai et al., 2016, "Very deep convolutional neural
networks for raw waveforms", https://arxiv.org/abs/1610.00087) and for sentences (Kim, 2014,
https://arxiv.org/abs/1408.5882).

The same few weights read every stretch of a sequence, so a pattern is found wherever it stands, and global pooling
forgets where that was. On waveforms a first kernel of 80 samples, 10 ms at 8 kHz, takes the place of a spectrogram;
stride and pooling shorten 32,000 samples to 2,000 at once, which makes depth cheap. M3, M5, M11, M18 and M34-res
(Table 1) are named by layers with weights: 221,194, 559,114, 1,786,442, 3,683,786 and 3,984,154 parameters. `kim` reads
windows of 3, 4 and 5 words in one layer, 100 channels each, and keeps the maximum of each channel: 360,300 parameters
between the embeddings, 300 for each word, and the head.
"""

from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs.layers.convolution import pads
from archs.layers.embedding import SequenceInput
from archs.layers.fields import Dtype, refuse
from archs.layers.head import Head

Mask = Bool[Array, "B T"] | None


def hide(x: Float[Array, "B T C"], mask: Mask) -> Float[Array, "B T C"]:
    """Zero where the mask is False, as padding is."""
    return x if mask is None else jnp.where(mask[:, :, None], x, 0)


def every(steps: int, mask: Mask) -> Bool[Array, "B _"] | None:
    """The mask after a stride: an output is real if the first step of its stride is."""
    return None if mask is None else mask[:, ::steps]


def pool_steps(x: Float[Array, "B T C"], mask: Mask) -> Float[Array, "B _ C"]:
    """The maximum over each 4 steps, or what is left of them at the end: 125 steps become 32, as in Table 1.

    After ReLU the zero of a masked step never wins over a real one.
    """
    return nn.max_pool(hide(x, mask), (4,), strides=(4,), padding=((0, -x.shape[1] % 4),))


def batch_norm(x: Float[Array, "B T C"], mask: Mask, *, train: bool, **dtypes: Any) -> Float[Array, "B T C"]:
    """Batch normalisation (Ioffe and Szegedy, 2015) with statistics of the real steps."""
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, **dtypes, name="norm")
    return norm(x, mask=None if mask is None else mask[:, :, None])


class Convolution(nn.Module):
    """Convolution over real steps and normalisation.

    Attributes:
        features: Output channels.
        kernel_size: Steps that are read, before and after.
        stride: Steps between outputs.
        normalization: None, or over the batch.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    features: int
    kernel_size: int
    stride: int = 1
    normalization: Literal["none", "batch"] = "batch"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"], mask: Mask, *, train: bool = False) -> Float[Array, "B _ features"]:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = nn.Conv(
            self.features,
            (self.kernel_size,),
            strides=self.stride,
            padding=pads("zero", (self.kernel_size,)),
            kernel_init=nn.initializers.glorot_uniform(),
            **dtypes,
            name="conv",
        )(hide(x, mask))
        return x if self.normalization == "none" else batch_norm(x, every(self.stride, mask), train=train, **dtypes)


class ResidualBlock(nn.Module):
    """Two convolutions added to the input, normalised once more and rectified (Fig. 1b).

    Where channels double, the input is joined to a copy of itself: the paper leaves this open, and
    https://github.com/philipperemy/very-deep-convnets-raw-waveforms reports it as its authors' advice.

    Attributes:
        features, kernel_size, normalization, dtype, param_dtype: As in `Convolution`, of both.
    """

    features: int
    kernel_size: int
    normalization: Literal["none", "batch"] = "batch"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"], mask: Mask, *, train: bool = False) -> Float[Array, "B T features"]:
        """Raises ValueError if copies of the input cannot make up `features`."""
        copies, rest = divmod(self.features, x.shape[-1])
        if rest:
            raise ValueError(
                f"convnet1d: residual=True cannot widen {x.shape[-1]} channels to {self.features}; choose "
                "hidden_sizes that are multiples of one another and of the input's width"
            )
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        options: dict[str, Any] = {"normalization": self.normalization, **dtypes}
        y = nn.relu(Convolution(self.features, self.kernel_size, **options, name="layer_0")(x, mask, train=train))
        y = Convolution(self.features, self.kernel_size, **options, name="layer_1")(y, mask, train=train)
        y = y + jnp.concatenate([x] * copies, axis=-1)
        return nn.relu(y if self.normalization == "none" else batch_norm(y, mask, train=train, **dtypes))


class Model(nn.Module):
    """Stages of convolutions, global pooling and a linear head.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns the pooled channels.
        vocab_size: Tokens that there are, if the input is text; None reads vectors.
        embedding_size: Width of a token; None is the first of `hidden_sizes`.
        stage_sizes: Convolutions of each stage, or residual blocks of two.
        hidden_sizes: Channels of each stage, for each kernel size.
        kernel_size: Steps that a convolution reads. With several, each layer has convolutions of all these sizes side
            by side and joins their channels; not with residual blocks.
        downsampling: "none" keeps all steps. "waveform" puts a convolution with kernel 80 and stride 4 first, and
            the maximum over each 4 steps after it and after each of the first three stages.
        residual: Whether stages are residual blocks.
        normalization: After each convolution, and after each residual sum: none, or over the batch.
        pool: What the head reads: the mean or the maximum over steps.
        dropout_rate: Share of pooled channels dropped in training; the paper has none.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "pixels"

    num_classes: int | None
    vocab_size: int | None = None
    embedding_size: int | None = None
    stage_sizes: tuple[int, ...] = (1, 1, 1)
    hidden_sizes: tuple[int, ...] = (128, 128, 128)
    kernel_size: int | tuple[int, ...] = 3
    downsampling: Literal["none", "waveform"] = "none"
    residual: bool = False
    normalization: Literal["none", "batch"] = "batch"
    pool: Literal["mean", "max"] = "mean"
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        sequence: Float[Array, "B T D"] | None = None,
        mask: Bool[Array, "B T"] | None = None,
        tokens: Int[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B outputs"]:
        """Reads the steps where `mask` is True, of the tokens if there is a vocabulary, else of the sequence.

        Batch statistics are of these steps too, so that padding after them changes nothing. Nor does padding before
        them, unless `downsampling` counts its strides from there.

        Raises:
            ValueError: The input is of the other kind, a stage lacks its size, or residual blocks cannot widen as
                `hidden_sizes` do or have several kernel sizes.
        """
        self.check()
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        options: dict[str, Any] = {"normalization": self.normalization, **dtypes}
        sizes = (self.vocab_size, self.embedding_size, self.hidden_sizes[0])
        x = SequenceInput("convnet1d", *sizes, **dtypes, name="embedding")(sequence, tokens, train=train)
        # Whatever stands in the padding, NaN included, must not reach a gradient.
        x = hide(x.astype(self.dtype), mask)

        if self.downsampling == "waveform":
            first = Convolution(self.hidden_sizes[0], 80, stride=4, **options, name="first")
            x = nn.relu(first(x, mask, train=train))
            x = pool_steps(x, every(4, mask))
            mask = every(16, mask)
        for stage, (size, features) in enumerate(zip(self.stage_sizes, self.hidden_sizes, strict=True)):
            for layer in range(size):
                x = self.layer(x, mask, features, f"stage_{stage}_{layer}", train=train, **options)
            if self.downsampling == "waveform" and stage < 3:
                x, mask = pool_steps(x, mask), every(4, mask)
        x = self.pool_all(x, mask)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Head(self.num_classes, **dtypes, name="head")(x)

    def layer(
        self, x: Float[Array, "B T C"], mask: Mask, features: int, name: str, *, train: bool, **options: Any
    ) -> Float[Array, "B T _"]:
        """A residual block, or the rectified convolutions of all kernel sizes, joined."""
        if isinstance(self.kernel_size, tuple):
            widths = {size: Convolution(features, size, **options, name=f"{name}_{size}") for size in self.kernel_size}
            return jnp.concatenate([nn.relu(read(x, mask, train=train)) for read in widths.values()], axis=-1)
        if self.residual:
            return ResidualBlock(features, self.kernel_size, **options, name=name)(x, mask, train=train)
        return nn.relu(Convolution(features, self.kernel_size, **options, name=name)(x, mask, train=train))

    def check(self) -> None:
        """Raises ValueError if fields contradict each other."""
        problems = {
            f"stage_sizes is {self.stage_sizes} and hidden_sizes is {self.hidden_sizes}; give one of each per stage": (
                len(self.stage_sizes) != len(self.hidden_sizes)
            ),
            f"kernel_size is {self.kernel_size}, and residual=True takes a single one": (
                self.residual and isinstance(self.kernel_size, tuple)
            ),
            f"kernel_size is {self.kernel_size}; give at least one, and each once": (
                isinstance(self.kernel_size, tuple) and not 0 < len(self.kernel_size) == len(set(self.kernel_size))
            ),
        }
        refuse("convnet1d", problems)

    def pool_all(self, x: Float[Array, "B T C"], mask: Mask) -> Float[Array, "B C"]:
        if self.pool == "max":
            return hide(x, mask).max(axis=1)
        if mask is None:
            return x.mean(axis=1)
        return hide(x, mask).sum(axis=1) / jnp.maximum(mask.sum(axis=1, keepdims=True), 1).astype(x.dtype)


M_NET = {"downsampling": "waveform"}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "M3": {**M_NET, "stage_sizes": (1,), "hidden_sizes": (256,)},
    "M5": {**M_NET, "stage_sizes": (1, 1, 1), "hidden_sizes": (128, 256, 512)},
    "M11": {**M_NET, "stage_sizes": (2, 2, 3, 2), "hidden_sizes": (64, 128, 256, 512)},
    "M18": {**M_NET, "stage_sizes": (4, 4, 4, 4), "hidden_sizes": (64, 128, 256, 512)},
    "M34-res": {**M_NET, "stage_sizes": (3, 4, 6, 3), "hidden_sizes": (48, 96, 192, 384), "residual": True},
    "kim": {
        "embedding_size": 300,
        "stage_sizes": (1,),
        "hidden_sizes": (100,),
        "kernel_size": (3, 4, 5),
        "normalization": "none",
        "pool": "max",
        "dropout_rate": 0.5,
    },
}
EXAMPLE = {"sequence": jax.ShapeDtypeStruct((32000, 1), "float32")}  # 4 s at 8 kHz
