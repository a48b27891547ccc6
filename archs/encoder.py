"""The sequence classifier of the Long Range Arena (Tay et al., 2020, https://arxiv.org/abs/2011.04006,
https://github.com/google-research/long-range-arena).

A pre-norm Transformer encoder reads a long sequence of tokens, which may be bytes or the pixels of an image, and a
perceptron classifies what it made of it: a benchmark of mixers, all else being equal. With two towers the same encoder
reads two documents apart, and only the perceptron sees both. Paper and released code disagree on sizes, so each task
has variants of both. Their blocks, without embeddings, positions, class token, last normalisation and classifier, have
18,902,016 parameters (`listops` and `text`), 8,402,944 (`listops-release`), 3,154,944 (`text-release`) and 791,040
(`retrieval`, both).
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from flax.core import FrozenDict
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs.layers import mixers
from archs.layers.activation import Activation
from archs.layers.fields import Dtype, refuse
from archs.layers.head import Head
from archs.layers.positions import Positions
from archs.layers.stack import Remat, Stack

Pool = Literal["cls", "first", "mean"]


class Tower(nn.Module):
    """Embeddings of tokens and positions, blocks, a last normalisation, and one vector of it all.

    Attributes:
        vocab_size, hidden_size, num_layers, max_length, positions, pool, scan_layers, remat: As in `Model`.
        block: Fields of `archs.layers.block.Block`.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    max_length: int
    positions: Literal["learned", "sinusoidal", "none"]
    pool: Pool
    block: Mapping[str, Any]
    scan_layers: bool
    remat: Remat

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "B T"], mask: Bool[Array, "B T"] | None, *, train: bool = False
    ) -> Float[Array, "B D"]:
        dtypes: dict[str, Any] = {name: self.block[name] for name in ("dtype", "param_dtype")}
        init = nn.initializers.normal(1.0)
        x = nn.Embed(self.vocab_size, self.hidden_size, embedding_init=init, **dtypes, name="embedding")(tokens)
        has_token = self.pool == "cls"
        if has_token:
            token = self.param("token", nn.initializers.zeros, (1, 1, self.hidden_size), dtypes["param_dtype"])
            x = jnp.concatenate([jnp.broadcast_to(token.astype(x.dtype), (len(x), 1, self.hidden_size)), x], axis=1)
            mask = None if mask is None else jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True)
        x = Positions(self.positions, self.max_length + has_token, **dtypes, name="positions")(x)
        x = nn.Dropout(self.block["dropout_rate"], deterministic=not train)(x)
        x = Stack(self.num_layers, self.block, self.scan_layers, self.remat, name="blocks")(x, mask=mask, train=train)
        x = nn.LayerNorm(epsilon=self.block["norm_epsilon"], **dtypes, name="norm")(x)
        if self.pool != "mean":
            return x[:, 0]
        if mask is None:
            return x.mean(axis=1)
        total = jnp.where(mask[:, :, None], x, 0).sum(axis=1)
        return total / jnp.maximum(mask.sum(axis=1, keepdims=True), 1).astype(x.dtype)


class Model(nn.Module):
    """One encoder, of one text or of each of two, and a perceptron that classifies.

    Attributes:
        vocab_size: Tokens that there are; 256 for the pixels of a grey image.
        num_classes: Outputs. None returns the inner units of the classifier, which the last map would read.
        tower: "one" reads `tokens`; "two" reads also `tokens_2`, by the same encoder.
        interaction: Of two towers only, what the classifier reads of their vectors x and y: "nli" x, y, x y and x - y
            as in the paper, which is what None is, or "none" x and y as in the released code.
        max_length: Tokens at most; a longer input is refused.
        hidden_size: D, the width of a token.
        num_layers: Blocks.
        num_heads: Attention heads; must divide `hidden_size`.
        key_size, value_size: Widths of a head's queries and keys, and of its values; None is D / H.
        mlp_size: Inner width of the blocks' perceptrons, and of the classifier. That of two towers has a second inner
            layer, half as wide.
        positions: Learned; sinusoidal; or none, which leaves a set.
        pool: What stands for the sequence: the features of a class token put before it, or of its first token; or the
            mean over real tokens.
        activation: Of the blocks' perceptrons; the classifier has ReLU.
        dropout_rate: Share dropped after the embedding, of each branch, and of the perceptrons' inner units, in
            training.
        attention_dropout_rate: Share of attention weights dropped, if the mixer has them and `mixer_kwargs` gives no
            dropout_rate of its own; None is `dropout_rate`.
        norm_epsilon: Added to the variance in layer normalisation.
        mixer, mixer_kwargs: How attention mixes values; see `archs.layers.mixers`. A mixer that has a max_length counts
            the class token too.
        scan_layers, remat: How the blocks are run; see `archs.layers.stack.Stack`.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "tokens"

    vocab_size: int
    num_classes: int | None
    tower: Literal["one", "two"] = "one"
    interaction: Literal["nli", "none"] | None = None
    max_length: int = 2000
    hidden_size: int = 512
    num_layers: int = 6
    num_heads: int = 8
    key_size: int | None = None
    value_size: int | None = None
    mlp_size: int = 2048
    positions: Literal["learned", "sinusoidal", "none"] = "sinusoidal"
    pool: Pool = "cls"
    activation: Activation = "gelu_tanh"
    dropout_rate: float = 0.1
    attention_dropout_rate: float | None = None
    norm_epsilon: float = 1e-6
    mixer: str = "dense"
    mixer_kwargs: Mapping[str, Any] = field(default_factory=FrozenDict)
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        mask: Bool[Array, "B T"] | None = None,
        tokens_2: Int[Array, "B S"] | None = None,
        mask_2: Bool[Array, "B S"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B outputs"]:
        """Reads the tokens where the masks are True; outputs do not depend on what stands elsewhere.

        Raises ValueError if fields contradict each other or the inputs, or the tokens are more than `max_length`.
        """
        self.check(tokens.shape, None if tokens_2 is None else tokens_2.shape)
        encode = self.encoder()
        x = encode(tokens, mask, train=train)
        inner_sizes = [self.mlp_size]
        if tokens_2 is not None:
            y = encode(tokens_2, mask_2, train=train)
            x = jnp.concatenate([x, y] if self.interaction == "none" else [x, y, x * y, x - y], axis=-1)
            inner_sizes.append(max(self.mlp_size // 2, 1))
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        for number, size in enumerate(inner_sizes):
            x = nn.relu(nn.Dense(size, **dtypes, name=f"classifier_{number}")(x))
        return Head(self.num_classes, **dtypes, name="head")(x)

    def encoder(self) -> Tower:
        rate = self.dropout_rate if self.attention_dropout_rate is None else self.attention_dropout_rate
        block = {
            "num_heads": self.num_heads,
            "mlp_size": self.mlp_size,
            "key_size": self.key_size,
            "value_size": self.value_size,
            "use_bias": False,
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
            "norm_epsilon": self.norm_epsilon,
            "mixer": self.mixer,
            "mixer_kwargs": mixers.with_dropout(self.mixer, self.mixer_kwargs, rate),
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        return Tower(
            self.vocab_size,
            self.hidden_size,
            self.num_layers,
            self.max_length,
            self.positions,
            self.pool,
            FrozenDict(block),
            self.scan_layers,
            self.remat,
            name="encoder",
        )

    def check(self, shape: tuple[int, ...], shape_2: tuple[int, ...] | None) -> None:
        """Raises ValueError if fields contradict each other or the shapes of the inputs."""
        longest = max(shape[1], 0 if shape_2 is None else shape_2[1])
        problems = {
            f"hidden_size={self.hidden_size} is not divisible by num_heads={self.num_heads}": (
                self.hidden_size % self.num_heads != 0
            ),
            "tower='two' reads tokens and tokens_2, and there are no tokens_2; give pairs, or set it to 'one'": (
                self.tower == "two" and shape_2 is None
            ),
            "tower='one' reads tokens only, and tokens_2 are given; set it to 'two'": (
                self.tower == "one" and shape_2 is not None
            ),
            "interaction goes with tower='two' only; leave it out": (
                self.tower == "one" and self.interaction is not None
            ),
            f"the input has {longest} tokens, and max_length is {self.max_length}; shorten the input or raise "
            "max_length": longest > self.max_length,
        }
        refuse("encoder", problems)


def sizes(num_layers: int, num_heads: int, hidden_size: int, mlp_size: int, max_length: int) -> dict[str, Any]:
    return {
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_size": hidden_size,
        "mlp_size": mlp_size,
        "max_length": max_length,
    }


# Of images, the paper gives the width of queries, keys and values, taken here for that of tokens too.
IMAGE = {"positions": "learned", "dropout_rate": 0.3, "attention_dropout_rate": 0.2}
PATHFINDER = {"pool": "mean", "dropout_rate": 0.2, "attention_dropout_rate": 0.1}
RETRIEVAL = {"tower": "two", **sizes(4, 4, 128, 512, 4000)}
VARIANTS: dict[str, dict[str, Any]] = {
    "listops": sizes(6, 8, 512, 2048, 2000),
    "listops-release": sizes(4, 8, 512, 1024, 2000),
    "text": sizes(6, 8, 512, 2048, 4000),
    "text-release": sizes(4, 4, 256, 1024, 1000),
    "retrieval": RETRIEVAL,
    "retrieval-release": {**RETRIEVAL, "interaction": "none", "pool": "first"},
    "image": {**IMAGE, **sizes(3, 4, 64, 128, 1024)},
    "image-release": {**IMAGE, **sizes(1, 8, 128, 128, 1024), "key_size": 8, "value_size": 8},
    "pathfinder": {**PATHFINDER, **sizes(4, 8, 128, 128, 1024)},
    "pathfinder-release": {**PATHFINDER, **sizes(4, 4, 32, 32, 1024), "key_size": 4, "value_size": 4},
}
EXAMPLE = {"tokens": jax.ShapeDtypeStruct((2000,), "int32")}  # an expression of ListOps
