"""Multilayer perceptron (Rumelhart, Hinton and Williams, 1986, https://doi.org/10.1038/323533a0).

Every unit sees every input, so the network assumes nothing about their arrangement, and the first layer's
size grows with the input: 1,000 units on a 224×224×3 image cost 150,528,000 weights and 1,000 biases.
"""

from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from archs.layers.activation import ACTIVATIONS, Activation
from archs.layers.fields import Dtype
from archs.layers.head import Head


class Model(nn.Module):
    """Fully connected layers, each followed by normalisation, activation and dropout, then a linear head.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns the last hidden layer.
        hidden_sizes: Units of each hidden layer; empty is a linear model.
        activation: Nonlinearity of the hidden layers.
        normalization: Of the pre-activations: none, over the batch (Ioffe and Szegedy, 2015) or over the
            layer (Ba et al., 2016). Batch statistics live in the collection `batch_stats`.
        dropout_rate: Share of hidden units dropped in training.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "flat"

    num_classes: int | None
    hidden_sizes: tuple[int, ...] = (512, 512)
    activation: Activation = "relu"
    normalization: Literal["none", "batch", "layer"] = "none"
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, features: Float[Array, "B D"], *, train: bool = False) -> Float[Array, "B outputs"]:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = features.astype(self.dtype)
        for size in self.hidden_sizes:
            x = nn.Dense(size, **dtypes)(x)
            if self.normalization == "batch":
                x = nn.BatchNorm(use_running_average=not train, momentum=0.9, **dtypes)(x)
            elif self.normalization == "layer":
                x = nn.LayerNorm(**dtypes)(x)
            x = ACTIVATIONS[self.activation](x)
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Head(self.num_classes, **dtypes, name="head")(x)


VARIANTS: dict[str, dict[str, Any]] = {}
EXAMPLE = {"features": jax.ShapeDtypeStruct((784,), "float32")}  # an image of MNIST
