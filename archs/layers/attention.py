"""Multi-head attention (Vaswani et al., 2017, section 3.2.2)."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array, Bool, Float

from archs.layers import mixers
from archs.layers.fields import Dtype


class MultiHeadAttention(nn.Module):
    """Projects to H heads of width K = D / H, mixes values over positions in each, and projects back.

    Kernels of query, key and value are [D, H, K], that of the output is [H, K, D].

    Attributes:
        num_heads: H.
        mixer: How values are mixed; one of `mixers.names()`.
        mixer_kwargs: Fields of the mixer.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    num_heads: int
    mixer: str = "dense"
    mixer_kwargs: Mapping[str, Any] = field(default_factory=FrozenDict)
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        memory: Float[Array, "B S _"] | None = None,
        *,
        mask: Bool[Array, "B S"] | None = None,
        causal: bool = False,
        train: bool = False,
    ) -> Float[Array, "B T D"]:
        """Attends from x to `memory`, of any width, or to x itself if there is none.

        Args:
            x: Where queries come from.
            memory: Where keys and values come from.
            mask: True at the real positions of what is attended to.
            causal: Whether position t sees positions up to t only.
            train: Whether dropout is active.

        Raises:
            ValueError: The width of x is not divisible by `num_heads`, or the mixer or one of its fields is
                unknown.
        """
        width = x.shape[-1]
        if width % self.num_heads:
            raise ValueError(f"attention: hidden_size {width} is not divisible by num_heads {self.num_heads}")
        memory = x if memory is None else memory
        options: dict[str, Any] = {
            "kernel_init": nn.initializers.xavier_uniform(),
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        heads = (self.num_heads, width // self.num_heads)
        q = nn.DenseGeneral(heads, **options, name="query")(x)
        k = nn.DenseGeneral(heads, **options, name="key")(memory)
        v = nn.DenseGeneral(heads, **options, name="value")(memory)
        mix = mixers.build(self.mixer, **self.mixer_kwargs)
        mixed = mix(q, k, v, mask=mask, causal=causal, train=train)
        return nn.DenseGeneral(width, axis=(-2, -1), **options, name="output")(mixed)
