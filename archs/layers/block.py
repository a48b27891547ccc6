"""The Transformer block: attention, then a two-layer perceptron at each position, each a residual branch."""

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Literal

from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array, Bool, Float

from archs.layers.activation import ACTIVATIONS, Activation
from archs.layers.attention import MultiHeadAttention, kernel_init
from archs.layers.fields import Dtype


class FeedForward(nn.Module):
    """f(x W₁ + b₁) W₂ + b₂ at each position (Vaswani et al., 2017, eq. 2), with dropout after f.

    Attributes:
        mlp_size: F, the inner width.
        activation: f.
        dropout_rate: Share of inner units dropped in training.
        init_std, output_init_std: As in `MultiHeadAttention`, of W₁ and W₂.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    mlp_size: int
    activation: Activation = "gelu"
    dropout_rate: float = 0.0
    init_std: float | None = None
    output_init_std: float | None = None
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], *, train: bool = False) -> Float[Array, "B T D"]:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        first, second = kernel_init(self.init_std), kernel_init(self.output_init_std)
        inner = nn.Dense(self.mlp_size, kernel_init=first, **dtypes, name="inner")(x)
        inner = nn.Dropout(self.dropout_rate, deterministic=not train)(ACTIVATIONS[self.activation](inner))
        return nn.Dense(x.shape[-1], kernel_init=second, **dtypes, name="outer")(inner)


class Block(nn.Module):
    """One layer of a Transformer: self-attention, cross-attention if `cross`, and the perceptron.

    Attributes:
        num_heads: H.
        mlp_size: F, the inner width of the perceptron.
        key_size, value_size: Widths of a head's queries and keys, and of its values; None is D / H.
        use_bias: Whether the projections of attention have biases.
        cross: Whether the block also attends to a memory, as in the decoder of Vaswani et al. (2017).
        norm: Whether layer normalisation stands inside the residual branch, x + f(norm(x)), as in GPT-2 and
            ViT, or after the sum, norm(x + f(x)), as in Vaswani et al. (2017), GPT-1 and BERT.
        activation: Of the perceptron.
        dropout_rate: Share dropped of each branch in training.
        inner_dropout_rate: Share dropped of the perceptron's inner units; None is `dropout_rate`.
        norm_epsilon: Added to the variance in layer normalisation.
        init_std, output_init_std: Deviations of kernels at the start, the latter of the last one of each branch; None
            is Glorot's uniform distribution.
        mlp_init_std, mlp_output_init_std: Those of the perceptron, where they differ from attention's.
        mixer, mixer_kwargs: How self-attention mixes values; see `archs.layers.mixers`.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    num_heads: int
    mlp_size: int
    key_size: int | None = None
    value_size: int | None = None
    use_bias: bool = True
    cross: bool = False
    norm: Literal["pre", "post"] = "pre"
    activation: Activation = "gelu"
    dropout_rate: float = 0.0
    inner_dropout_rate: float | None = None
    norm_epsilon: float = 1e-6
    init_std: float | None = None
    output_init_std: float | None = None
    mlp_init_std: float | None = None
    mlp_output_init_std: float | None = None
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
        mask: Bool[Array, "B T"] | None = None,
        memory_mask: Bool[Array, "B S"] | None = None,
        causal: bool = False,
        decode: bool = False,
        shared: Any = None,
        train: bool = False,
    ) -> Float[Array, "B T D"]:
        """Arguments are those of `MultiHeadAttention`."""
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        heads: dict[str, Any] = {
            "num_heads": self.num_heads,
            "key_size": self.key_size,
            "value_size": self.value_size,
            "use_bias": self.use_bias,
            "init_std": self.init_std,
            "output_init_std": self.output_init_std,
            **dtypes,
        }
        modes: dict[str, Any] = {"decode": decode, "train": train}

        def branch(x: Float[Array, "B T D"], name: str, f: Callable[[Array], Array]) -> Float[Array, "B T D"]:
            norm = nn.LayerNorm(epsilon=self.norm_epsilon, **dtypes, name=f"{name}_norm")
            drop = nn.Dropout(self.dropout_rate, deterministic=not train)
            return x + drop(f(norm(x))) if self.norm == "pre" else norm(x + drop(f(x)))

        attention = MultiHeadAttention(**heads, mixer=self.mixer, mixer_kwargs=self.mixer_kwargs, name="attention")
        x = branch(x, "attention", lambda x: attention(x, mask=mask, causal=causal, shared=shared, **modes))
        if self.cross:
            cross_attention = MultiHeadAttention(**heads, name="cross_attention")
            x = branch(x, "cross_attention", lambda x: cross_attention(x, memory, mask=memory_mask, **modes))
        inner_rate = self.dropout_rate if self.inner_dropout_rate is None else self.inner_dropout_rate
        mlp = FeedForward(
            mlp_size=self.mlp_size,
            activation=self.activation,
            dropout_rate=inner_rate,
            init_std=self.init_std if self.mlp_init_std is None else self.mlp_init_std,
            output_init_std=self.output_init_std if self.mlp_output_init_std is None else self.mlp_output_init_std,
            **dtypes,
            name="mlp",
        )
        return branch(x, "mlp", lambda x: mlp(x, train=train))
