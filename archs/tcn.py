"""Temporal convolutional network (Bai, Kolter and Koltun, 2018, https://arxiv.org/abs/1803.01271).

A convolution that reads only the past can do what a recurrent network does, all steps at once. Dilations double from
block to block, so the reach into the past grows exponentially with depth: 1 + 2 (k - 1) (2ⁿ - 1) steps for n blocks of
two convolutions with kernel k. Variants are those of the paper's adding problem, pixel-by-pixel MNIST and copy memory:
70,369, 66,910 and 12,530 parameters.
"""

from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs.layers.embedding import SequenceInput
from archs.layers.fields import Dtype
from archs.layers.head import Head


class CausalConv(nn.Module):
    """Dilated convolution over this step and earlier ones, its weights normalised (Salimans and Kingma, 2016).

    The weights of an output channel are its `scale` times the direction of its `kernel`.

    Attributes:
        features: Output channels.
        kernel_size: Steps that are read.
        dilation: Distance between them.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    features: int
    kernel_size: int
    dilation: int
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B T features"]:
        # The authors' code asks for a deviation of 0.01, but weight normalisation overrules it: training starts from
        # PyTorch's default (https://github.com/locuslab/TCN/issues/1).
        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        shape = (self.kernel_size, x.shape[-1], self.features)
        direction = self.param("kernel", uniform, shape, self.param_dtype)
        length = jnp.sqrt(jnp.square(direction).sum(axis=(0, 1)))
        scale = self.param("scale", lambda key: length)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        kernel = direction * (scale / length).reshape(1, 1, -1)
        x = lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(1,),
            padding=[((self.kernel_size - 1) * self.dilation, 0)],
            rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return x + bias.astype(self.dtype).reshape(1, 1, -1)


class TemporalBlock(nn.Module):
    """Two causal convolutions with ReLU and dropout, added to the input, and ReLU (Fig. 1b).

    Attributes:
        features, kernel_size, dilation, dtype, param_dtype: As in `CausalConv`, of both.
        dropout_rate: Share of channels dropped, each over all steps, in training (Tompson et al., 2015).
    """

    features: int
    kernel_size: int
    dilation: int
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T C"], mask: Bool[Array, "B T"], *, train: bool = False
    ) -> Float[Array, "B T features"]:
        """Convolutions read zeros where the mask is False, as they do before the first step."""
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        y = x
        for layer in range(2):
            y = jnp.where(mask[:, :, None], y, 0)
            y = CausalConv(self.features, self.kernel_size, self.dilation, **dtypes, name=f"conv_{layer}")(y)
            y = nn.Dropout(self.dropout_rate, broadcast_dims=(1,), deterministic=not train)(nn.relu(y))
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, kernel_init=nn.initializers.normal(0.01), **dtypes, name="residual")(x)
        return nn.relu(x + y)


class Model(nn.Module):
    """Temporal blocks with dilations 1, 2, 4, …, and a linear head on the last step or on all.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns what the head would read.
        vocab_size: Tokens that there are, if the input is text; None reads vectors. As many outputs of all steps make a
            language model.
        embedding_size: Width of a token; None is `hidden_size`.
        hidden_size: Channels of each block.
        num_layers: Blocks.
        kernel_size: Steps that a convolution reads.
        outputs: What the head reads: "last" the last real step, "all" every step.
        dropout_rate: Share dropped of embeddings, and of channels after each convolution, over all steps, in training.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "pixels"
    causal: ClassVar[bool] = True  # an output depends on its own step and earlier ones only

    num_classes: int | None
    vocab_size: int | None = None
    embedding_size: int | None = None
    hidden_size: int = 25
    num_layers: int = 8
    kernel_size: int = 7
    outputs: Literal["last", "all"] = "last"
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @property
    def receptive_field(self) -> int:
        """Steps, up to its own, that an output depends on."""
        return 1 + 2 * (self.kernel_size - 1) * (2**self.num_layers - 1)

    @nn.compact
    def __call__(
        self,
        sequence: Float[Array, "B T D"] | None = None,
        mask: Bool[Array, "B T"] | None = None,
        tokens: Int[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B outputs"] | Float[Array, "B T outputs"]:
        """Reads the steps where `mask` is True, of the tokens if there is a vocabulary, else of the sequence.

        Padding at either end changes nothing. Raises ValueError if the input is of the other kind.
        """
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        sizes = (self.vocab_size, self.embedding_size, self.hidden_size)
        x = SequenceInput("tcn", *sizes, self.dropout_rate, **dtypes, name="embedding")(sequence, tokens, train=train)
        if mask is None:
            mask = jnp.ones(x.shape[:2], bool)
        # Whatever stands in the padding, NaN included, must not reach a gradient.
        x = jnp.where(mask[:, :, None], x, 0).astype(self.dtype)
        for layer in range(self.num_layers):
            x = TemporalBlock(
                self.hidden_size, self.kernel_size, 2**layer, self.dropout_rate, **dtypes, name=f"block_{layer}"
            )(x, mask, train=train)
        x = jnp.where(mask[:, :, None], x, 0)
        if self.outputs == "last":
            last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
            x = jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
        return Head(self.num_classes, **dtypes, name="head")(x)


VARIANTS: dict[str, dict[str, Any]] = {
    "adding": {"hidden_size": 24, "num_layers": 8, "kernel_size": 8},
    "mnist": {"hidden_size": 25, "num_layers": 8, "kernel_size": 7},
    "copy_memory": {"hidden_size": 10, "num_layers": 8, "kernel_size": 8, "outputs": "all"},
}
EXAMPLE = {"sequence": jax.ShapeDtypeStruct((784, 1), "float32")}  # an image of MNIST by pixels
