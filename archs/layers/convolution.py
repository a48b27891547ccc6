"""Convolution with batch normalisation, over one or two dimensions.

Padding is the same on both sides, as the papers draw it and PyTorch does it; "SAME" of XLA pads one side more
where a stride leaves a remainder.
"""

from typing import Any, Literal

from flax import linen as nn
from jaxtyping import Array, Float

from archs.layers.activation import ACTIVATIONS, Activation
from archs.layers.fields import Dtype

Padding = Literal["zero", "circular", "none"]


def pads(padding: Padding, kernel_size: tuple[int, ...]) -> str | list[tuple[int, int]]:
    """The padding in terms of `nn.Conv`; "zero" and "circular" keep the size at stride 1."""
    if padding == "zero":
        return [((size - 1) // 2, size // 2) for size in kernel_size]
    return {"circular": "CIRCULAR", "none": "VALID"}[padding]


class ConvNorm(nn.Module):
    """Convolution, batch normalisation (Ioffe and Szegedy, 2015) and activation.

    Attributes:
        features: Output channels.
        kernel_size: Per dimension: (3, 3) reads images, (3,) waveforms.
        strides: Of every dimension.
        padding: With zeros, with the opposite edge, or none; the first two keep the size at stride 1.
        activation: None leaves the normalised values.
        use_bias: Whether the convolution has a bias, which normalisation takes away again.
        zero_scale: Whether normalisation starts with scale 0, so that a residual branch starts as nothing
            (Goyal et al., 2017, section 5.1).
        kernel_init: Of the convolution; normalisation makes its scale matter to the speed of learning only.
        epsilon: Added to the variance.
        dtype: Type of the computation; statistics are at least float32.
        param_dtype: Type of the parameters.
    """

    features: int
    kernel_size: tuple[int, ...]
    strides: int = 1
    padding: Padding = "zero"
    activation: Activation | None = "relu"
    use_bias: bool = False
    zero_scale: bool = False
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()
    epsilon: float = 1e-5
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B *space C"], *, train: bool = False) -> Float[Array, "B *smaller features"]:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = nn.Conv(
            self.features,
            self.kernel_size,
            strides=self.strides,
            padding=pads(self.padding, self.kernel_size),
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            **dtypes,
            name="conv",
        )(x)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=self.epsilon,
            scale_init=nn.initializers.zeros if self.zero_scale else nn.initializers.ones,
            **dtypes,
            name="norm",
        )(x)
        return x if self.activation is None else ACTIVATIONS[self.activation](x)
