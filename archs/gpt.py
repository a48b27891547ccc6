"""Generative pre-trained Transformers: GPT-1 (Radford et al., 2018,
https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf) and GPT-2 (Radford et
al., 2019, https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf).

One stack of Transformer blocks reads a text, each position seeing those before it, and predicts at every position the
token that comes next: any text is its own training data. The same network then serves other tasks, fine-tuned (GPT-1)
or only prompted (GPT-2). GPT-1 normalises after each sum, GPT-2 before each branch and once more at the end.
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
from archs.layers.fields import Dtype
from archs.layers.positions import Positions
from archs.layers.stack import Remat, Stack


class Model(nn.Module):
    """Token and position embeddings, causal Transformer blocks, and a head.

    Attributes:
        vocab_size: Tokens that there are.
        num_classes: Outputs of the heads "sequence" and "tokens", and of no other.
        head: What is put out: "language_model" logits of the next token at every position, by the matrix of the
            embedding; "sequence" `num_classes` numbers, read at the last real token, by a linear map without bias;
            "tokens" as many at every token; "none" the features of every token.
        predicts_tokens: Whether a model with head "sequence" also gives, in training, the logits of a language model,
            sown into the collection `auxiliary`: GPT-1 is fine-tuned on both (Radford et al., 2018, equation 5).
        max_length: Positions that are learned; a longer input is refused.
        hidden_size: D, the width of a token.
        num_layers: Blocks.
        num_heads: Attention heads; must divide `hidden_size`.
        mlp_size: Inner width of the blocks' perceptrons.
        norm: Layer normalisation before each branch and at the end, as in GPT-2, or after each sum, as in GPT-1.
        activation: Of the perceptrons.
        dropout_rate: Share dropped after the embedding, of each branch, of what a classifier reads, and of attention
            weights, if the mixer has them and `mixer_kwargs` gives no dropout_rate of its own, in training.
        norm_epsilon: Added to the variance in layer normalisation.
        mixer: How attention mixes values; one of `archs.layers.mixers.names()` that is causal.
        mixer_kwargs: Fields of the mixer. With "dense", dropout_rate=0 makes memory linear in length in training too.
        scan_layers, remat: How the blocks are run; see `archs.layers.stack.Stack`.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "tokens"

    vocab_size: int
    num_classes: int | None = None
    head: Literal["language_model", "sequence", "tokens", "none"] = "language_model"
    predicts_tokens: bool = False
    max_length: int = 1024
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_size: int = 3072
    norm: Literal["pre", "post"] = "pre"
    activation: Activation = "gelu_tanh"
    dropout_rate: float = 0.1
    norm_epsilon: float = 1e-5
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
        *,
        train: bool = False,
        decode: bool = False,
    ) -> Float[Array, "B *places outputs"]:
        """Reads the tokens where `mask` is True, wherever the padding is; outputs at padding mean nothing.

        With `decode`, tokens continue those that the collection `cache` holds: initialise with tokens as long as the
        sequence may become, then apply to what is new of it, with `cache` mutable.

        Raises ValueError if fields contradict each other, or the tokens are more than `max_length`.
        """
        self.check()
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        drop = nn.Dropout(self.dropout_rate, deterministic=not train)
        init = nn.initializers.normal(0.02)

        embedding = nn.Embed(self.vocab_size, self.hidden_size, embedding_init=init, **dtypes, name="embedding")
        places = self.places(tokens, mask, decode)
        x = Positions("learned", self.max_length, **dtypes, name="positions")(embedding(tokens), places)
        block = {
            "num_heads": self.num_heads,
            "mlp_size": self.mlp_size,
            "norm": self.norm,
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
            "inner_dropout_rate": 0.0,
            "init_std": 0.02,
            # GPT-2 keeps the variance of the sum of all branches as it is in one (Radford et al., 2019, section 2.3).
            "output_init_std": 0.02 / (2 * self.num_layers) ** 0.5 if self.norm == "pre" else 0.02,
            "norm_epsilon": self.norm_epsilon,
            "mixer": self.mixer,
            "mixer_kwargs": mixers.with_dropout(self.mixer, self.mixer_kwargs, self.dropout_rate),
            **dtypes,
        }
        blocks = Stack(self.num_layers, FrozenDict(block), self.scan_layers, self.remat, name="blocks")
        x = blocks(drop(x), mask=mask, causal=True, decode=decode, train=train)
        if self.norm == "pre":  # a post-norm block has normalised its output already
            x = nn.LayerNorm(epsilon=self.norm_epsilon, **dtypes, name="norm")(x)

        wide = jnp.promote_types(x.dtype, jnp.float32)
        table = embedding.embedding.astype(x.dtype)
        if self.head == "language_model":
            return jnp.einsum("btd,vd->btv", x, table, preferred_element_type=wide)
        if self.predicts_tokens and train:
            self.sow("auxiliary", "tokens", jnp.einsum("btd,vd->btv", x, table, preferred_element_type=wide))
        if self.head == "sequence":
            x = last_real(x, mask)
        if self.num_classes is not None:
            options: dict[str, Any] = {"use_bias": self.head == "tokens", "kernel_init": init, **dtypes}
            x = nn.Dense(self.num_classes, **options, name="head")(drop(x))
        return x.astype(wide)

    def check(self) -> None:
        """Raises ValueError if fields contradict each other, or one of them would do nothing."""
        if self.hidden_size % self.num_heads:
            raise ValueError(f"gpt: hidden_size={self.hidden_size} is not divisible by num_heads={self.num_heads}")
        if (self.num_classes is not None) != (self.head in ("sequence", "tokens")):
            raise ValueError(
                f"gpt: num_classes is {self.num_classes} with head={self.head!r}; give it with head='sequence' and "
                "head='tokens', and with no other"
            )
        if self.predicts_tokens and self.head != "sequence":
            raise ValueError(f"gpt: predicts_tokens=True is for head='sequence', not {self.head!r}")

    def places(
        self, tokens: Int[Array, "B T"], mask: Bool[Array, "B T"] | None, decode: bool
    ) -> Int[Array, "B T"] | None:
        """Positions, counting real tokens only, behind those that the cache has seen; None is from 0 on."""
        if mask is None and not decode:
            return None
        mask = jnp.ones(tokens.shape, bool) if mask is None else mask
        counts = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
        if decode:
            is_new = not self.has_variable("cache", "length")
            seen = self.variable("cache", "length", jnp.zeros, tokens.shape[:1], jnp.int32)
            counts = counts + seen.value[:, None]
            if not is_new:
                seen.value = counts[:, -1]
        return jnp.maximum(counts - 1, 0)


def last_real(x: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B D"]:
    """The features of the last token where `mask` is True."""
    if mask is None:
        return x[:, -1]
    last = x.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
    return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]


def gpt2(hidden_size: int, num_layers: int) -> dict[str, Any]:
    """Fields of a variant: heads are 64 wide, and perceptrons four times as wide as tokens, in all of them."""
    return {
        "vocab_size": 50_257,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "num_heads": hidden_size // 64,
        "mlp_size": 4 * hidden_size,
    }


VARIANTS: dict[str, dict[str, Any]] = {
    "gpt1": {"vocab_size": 40_478, "max_length": 512, "norm": "post"},
    "gpt2": gpt2(768, 12),
    "gpt2-medium": gpt2(1024, 24),
    "gpt2-large": gpt2(1280, 36),
    "gpt2-xl": gpt2(1600, 48),
}
EXAMPLE = {"tokens": jax.ShapeDtypeStruct((512,), "int32")}
