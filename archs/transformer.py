"""Transformer (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762).

Attention alone carries information between positions: encoder layers look at the whole source, decoder layers at the
target so far and at the encoder's output, all positions of a layer at once. `base` and `big` are the paper's; the rows
of its Table 3 are fields: `num_heads` (A), `key_size` (B), `num_layers`, `hidden_size` and `mlp_size` (C),
`dropout_rate` (D), `positions` (E). With one vocabulary of 37,000 for both languages `base` has 63,045,632 parameters.
"""

import functools
from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from flax.core import FrozenDict
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs.layers.activation import Activation
from archs.layers.fields import Dtype, refuse
from archs.layers.head import Head
from archs.layers.positions import Positions
from archs.layers.stack import Remat, Stack


class Model(nn.Module):
    """An encoder, and a decoder that predicts each token of the target from the source and the true tokens before it.

    Attributes:
        source_vocab_size: Tokens of the source.
        target_vocab_size: Tokens of the target; each position gives a logit for each.
        start_token: What the decoder reads before the first token of the target.
        hidden_size: D.
        num_layers: Blocks of the encoder, and of the decoder.
        num_heads: Attention heads; must divide `hidden_size`.
        key_size: Width of a head's queries and keys; None is `hidden_size / num_heads`.
        mlp_size: Inner width of the blocks' perceptrons.
        tied: Which matrices are one: "all" those of source and target words and of the logits, which takes one
            vocabulary; "output" those of target words and logits; "none".
        positions: Fixed sinusoids, learned, or none.
        max_length: Learned positions; a longer source or target is refused. Not for other positions.
        norm: Layer normalisation after each sum, as in the paper, or before each branch and once at the end.
        activation: Of the perceptrons.
        dropout_rate: Share dropped of embeddings with positions and of each branch's output (section 5.4), in training.
        norm_epsilon: Added to the variance in layer normalisation.
        mixer, mixer_kwargs: How the encoder's self-attention mixes values; see `archs.layers.mixers`.
        decoder_mixer, decoder_mixer_kwargs: Likewise the decoder's, causal; None is as the encoder's.
        scan_layers, remat: How the blocks are run; see `archs.layers.stack.Stack`.
        dtype: Type of the computation; logits are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "tokens"

    source_vocab_size: int
    target_vocab_size: int
    start_token: int = 0
    hidden_size: int = 512
    num_layers: int = 6
    num_heads: int = 8
    key_size: int | None = None
    mlp_size: int = 2048
    tied: Literal["all", "output", "none"] = "all"
    positions: Literal["sinusoidal", "learned", "none"] = "sinusoidal"
    max_length: int | None = None
    norm: Literal["pre", "post"] = "post"
    activation: Activation = "relu"
    dropout_rate: float = 0.1
    norm_epsilon: float = 1e-6
    mixer: str = "dense"
    mixer_kwargs: Mapping[str, Any] = field(default_factory=FrozenDict)
    decoder_mixer: str | None = None
    decoder_mixer_kwargs: Mapping[str, Any] = field(default_factory=FrozenDict)
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    def setup(self) -> None:
        self.check()
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        block = {
            "num_heads": self.num_heads,
            "mlp_size": self.mlp_size,
            "key_size": self.key_size,
            "use_bias": False,
            "norm": self.norm,
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
            "inner_dropout_rate": 0.0,
            "norm_epsilon": self.norm_epsilon,
            "mixer": self.mixer,
            "mixer_kwargs": self.mixer_kwargs,
            **dtypes,
        }
        stack = functools.partial(Stack, self.num_layers, scan_layers=self.scan_layers, remat=self.remat)
        init = nn.initializers.normal(self.hidden_size**-0.5)
        embed = functools.partial(nn.Embed, features=self.hidden_size, embedding_init=init, **dtypes)
        place = functools.partial(Positions, self.positions, max_length=self.max_length or 1, **dtypes)

        self.encoder = stack(FrozenDict(block))
        if self.decoder_mixer is not None:
            block |= {"mixer": self.decoder_mixer, "mixer_kwargs": self.decoder_mixer_kwargs}
        self.decoder = stack(FrozenDict({**block, "cross": True}))
        self.target_embedding = embed(num_embeddings=self.target_vocab_size)
        if self.tied != "all":
            self.source_embedding = embed(num_embeddings=self.source_vocab_size)
        if self.tied == "none":
            self.head = Head(self.target_vocab_size, **dtypes)
        self.source_positions, self.target_positions = place(), place()
        if self.norm == "pre":
            self.encoder_norm, self.decoder_norm = (nn.LayerNorm(epsilon=self.norm_epsilon, **dtypes) for _ in range(2))
        self.dropout = nn.Dropout(self.dropout_rate)

    def check(self) -> None:
        """Raises ValueError if fields contradict each other, or one of them would do nothing."""
        problems = {
            f"tied='all' needs one vocabulary, and there are {self.source_vocab_size} tokens of the source and "
            f"{self.target_vocab_size} of the target; use tied='output'": (
                self.tied == "all" and self.source_vocab_size != self.target_vocab_size
            ),
            "decoder_mixer_kwargs goes with decoder_mixer; name it too": (
                self.decoder_mixer is None and bool(self.decoder_mixer_kwargs)
            ),
            "max_length goes with positions='learned', and is required there": (
                (self.max_length is not None) != (self.positions == "learned")
            ),
            f"hidden_size={self.hidden_size} is not divisible by num_heads={self.num_heads}": (
                self.hidden_size % self.num_heads != 0
            ),
            f"start_token is {self.start_token}, which must be from 0 to {self.target_vocab_size - 1}": (
                not 0 <= self.start_token < self.target_vocab_size
            ),
        }
        refuse("transformer", problems)

    def __call__(
        self,
        source: Int[Array, "B S"] | None,
        target: Int[Array, "B T"],
        source_mask: Bool[Array, "B S"] | None = None,
        *,
        decode: bool = False,
        train: bool = False,
    ) -> Float[Array, "B T vocabulary"]:
        """Logits for each token of the target, given the source where `source_mask` is True and the tokens before it.

        With `decode`, `target` is what is new of the target, the start token first, and each logit is for what
        follows; keys and values are kept in the collection `cache`, which an initialisation with `decode` and a
        target as long as it may become has made. The first call gives the source, later ones None.

        Raises ValueError if fields contradict each other.
        """
        memory = None if source is None else self.encode(source, source_mask, train=train)
        tokens = target
        if not decode:
            tokens = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=self.start_token)
        x = self.embed(tokens, self.target_embedding, self.target_positions, decode=decode, train=train)
        x = self.decoder(x, memory, memory_mask=source_mask, causal=True, decode=decode, train=train)
        if self.norm == "pre":
            x = self.decoder_norm(x)
        if self.tied == "none":
            return self.head(x)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        table = self.target_embedding.embedding.astype(x.dtype)
        return jnp.einsum("btd,vd->btv", x, table, preferred_element_type=wide)

    def encode(
        self, source: Int[Array, "B S"], source_mask: Bool[Array, "B S"] | None = None, *, train: bool = False
    ) -> Float[Array, "B S D"]:
        embedding = self.target_embedding if self.tied == "all" else self.source_embedding
        x = self.embed(source, embedding, self.source_positions, decode=False, train=train)
        x = self.encoder(x, mask=source_mask, train=train)
        return self.encoder_norm(x) if self.norm == "pre" else x

    def embed(
        self, tokens: Int[Array, "B T"], embedding: nn.Embed, positions: Positions, *, decode: bool, train: bool
    ) -> Float[Array, "B T D"]:
        """Word vectors, multiplied as in section 3.4, with positions."""
        x = embedding(tokens) * self.hidden_size**0.5
        places = self.next_places(tokens) if decode else None
        return self.dropout(positions(x, places), deterministic=not train)

    def next_places(self, tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
        """Positions of new tokens of the target, behind those that the cache has seen."""
        zero = jnp.zeros((), jnp.int32)
        is_new = not self.has_variable("cache", "length")
        length = zero if is_new else self.get_variable("cache", "length")
        self.put_variable("cache", "length", zero if is_new else length + tokens.shape[1])
        return jnp.broadcast_to(length + jnp.arange(tokens.shape[1])[None], tokens.shape)


VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "big": {"hidden_size": 1024, "num_heads": 16, "mlp_size": 4096, "dropout_rate": 0.3},
}
EXAMPLE = {"source": jax.ShapeDtypeStruct((30,), "int32"), "target": jax.ShapeDtypeStruct((30,), "int32")}
