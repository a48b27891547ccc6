"""The Transformer block: attention, then a two-layer perceptron at each position, each a residual branch."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array, Bool, Float

from archs.layers.activation import ACTIVATIONS, Activation
from archs.layers.attention import MultiHeadAttention
from archs.layers.fields import Dtype


class FeedForward(nn.Module):
    """f(x W₁ + b₁) W₂ + b₂ at each position (Vaswani et al., 2017, eq. 2), with dropout after f.

    Attributes:
        mlp_size: F, the inner width.
        activation: f.
        dropout_rate: Share of inner units dropped in training.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    mlp_size: int
    activation: Activation = "gelu"
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], *, train: bool = False) -> Float[Array, "B T D"]:
        options: dict[str, Any] = {
            "kernel_init": nn.initializers.xavier_uniform(),
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        inner = ACTIVATIONS[self.activation](nn.Dense(self.mlp_size, **options, name="inner")(x))
        inner = nn.Dropout(self.dropout_rate, deterministic=not train)(inner)
        return nn.Dense(x.shape[-1], **options, name="outer")(inner)


class Block(nn.Module):
    """One layer of a Transformer.

    Attributes:
        num_heads: H.
        mlp_size: F, the inner width of the perceptron.
        norm: Whether layer normalisation stands inside the residual branch, x + f(norm(x)), as in GPT-2 and
            ViT, or after the sum, norm(x + f(x)), as in Vaswani et al. (2017), GPT-1 and BERT.
        activation: Of the perceptron.
        dropout_rate: Share dropped of each branch and of the perceptron's inner units, in training.
        norm_epsilon: Added to the variance in layer normalisation.
        mixer, mixer_kwargs: How attention mixes values; see `archs.layers.mixers`.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    num_heads: int
    mlp_size: int
    norm: Literal["pre", "post"] = "pre"
    activation: Activation = "gelu"
    dropout_rate: float = 0.0
    norm_epsilon: float = 1e-6
    mixer: str = "dense"
    mixer_kwargs: Mapping[str, Any] = field(default_factory=FrozenDict)
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        *,
        mask: Bool[Array, "B T"] | None = None,
        causal: bool = False,
        train: bool = False,
    ) -> Float[Array, "B T D"]:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        attention_norm = nn.LayerNorm(epsilon=self.norm_epsilon, **dtypes, name="attention_norm")
        attention = MultiHeadAttention(
            num_heads=self.num_heads,
            mixer=self.mixer,
            mixer_kwargs=self.mixer_kwargs,
            **dtypes,
            name="attention",
        )
        mlp_norm = nn.LayerNorm(epsilon=self.norm_epsilon, **dtypes, name="mlp_norm")
        mlp = FeedForward(
            mlp_size=self.mlp_size,
            activation=self.activation,
            dropout_rate=self.dropout_rate,
            **dtypes,
            name="mlp",
        )
        drop = nn.Dropout(self.dropout_rate, deterministic=not train)

        if self.norm == "pre":
            x = x + drop(attention(attention_norm(x), mask=mask, causal=causal, train=train))
            return x + drop(mlp(mlp_norm(x), train=train))
        x = attention_norm(x + drop(attention(x, mask=mask, causal=causal, train=train)))
        return mlp_norm(x + drop(mlp(x, train=train)))
