"""The last layer of every model."""

from typing import Any

from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from archs.layers.fields import Dtype


class Head(nn.Module):
    """Linear map from features to outputs, or no map at all.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns the features.
        kernel_init: Of the map.
        dtype: Type of the computation. What is returned is at least float32, so that losses are.
        param_dtype: Type of the parameters.
    """

    num_classes: int | None
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch outputs"]:
        if self.num_classes is not None:
            options: dict[str, Any] = {
                "kernel_init": self.kernel_init,
                "dtype": self.dtype,
                "param_dtype": self.param_dtype,
            }
            x = nn.Dense(self.num_classes, **options, name="dense")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))
