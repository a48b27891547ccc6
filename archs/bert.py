"""BERT (Devlin et al., 2018, https://arxiv.org/abs/1810.04805).

A Transformer encoder sees the words on both sides of each word, so it cannot be trained to predict the next one: that
is in sight. Instead some words are hidden or replaced, and the network must tell what stood there; and whether a second
segment of text follows the first. A linear map on top then serves other tasks, of sequences or tokens, with all weights
fine-tuned. `base` and `large` are the paper's, the smaller variants are those of Turc et al. (2019,
https://arxiv.org/abs/1908.08962).
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
from archs.layers.activation import ACTIVATIONS, Activation
from archs.layers.fields import Dtype, refuse
from archs.layers.head import Head
from archs.layers.positions import Positions
from archs.layers.stack import Remat, Stack


class VocabularyHead(nn.Module):
    """Logits over the vocabulary: a layer like a perceptron's, then the matrix of the embedding and a bias per token.

    Attributes:
        activation: Of the layer.
        norm_epsilon: Added to the variance in layer normalisation.
        dtype: Type of the computation; logits are at least float32.
        param_dtype: Type of the parameters.
    """

    activation: Activation
    norm_epsilon: float
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], embedding: Float[Array, "V D"]) -> Float[Array, "B T V"]:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        init = nn.initializers.normal(0.02)
        x = ACTIVATIONS[self.activation](nn.Dense(x.shape[-1], kernel_init=init, **dtypes, name="dense")(x))
        x = nn.LayerNorm(epsilon=self.norm_epsilon, **dtypes, name="norm")(x)
        bias = self.param("bias", nn.initializers.zeros, embedding.shape[:1], self.param_dtype)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        logits = jnp.einsum("btd,vd->btv", x, embedding.astype(x.dtype), preferred_element_type=wide)
        return logits + bias.astype(wide)[None, None]


class Model(nn.Module):
    """Embeddings of tokens, positions and segments, Transformer blocks that see both sides, and a head.

    Attributes:
        vocab_size: Tokens that there are.
        num_classes: Outputs of the heads "sequence" and "tokens", and of no other.
        head: What is put out: "masked_language_model" logits of the token that stands at every position, by the matrix
            of the embedding; "sequence" `num_classes` numbers, read from the pooler; "tokens" as many at every token;
            "none" the features of every token.
        pooler: With head="none" only: whether the pooler's output is put out instead, one vector for the sequence. The
            pooler is a layer of tanh units over the first token, which is why texts begin with the token [CLS].
        next_sentence: With head="masked_language_model" only: whether a second head tells from the pooler if the second
            segment follows the first. It sows two logits as "next_sentence" into the collection "auxiliary" where that
            is mutable, and is not computed elsewhere.
        num_types: Values of `token_types`; the paper's two are the segments.
        max_length: Positions that are learned; a longer input is refused.
        hidden_size: D, the width of a token.
        num_layers: Blocks.
        num_heads: Attention heads; must divide `hidden_size`.
        mlp_size: Inner width of the blocks' perceptrons.
        activation: Of the perceptrons and of the head over the vocabulary.
        dropout_rate: Share dropped after the embeddings, of each branch, of what a classifier reads, and of attention
            weights, if the mixer has them and `mixer_kwargs` gives no dropout_rate of its own, in training.
        norm_epsilon: Added to the variance in layer normalisation.
        mixer: How attention mixes values; one of `archs.layers.mixers.names()`.
        mixer_kwargs: Fields of the mixer. With "dense", dropout_rate=0 makes memory linear in length in training too.
        scan_layers, remat: How the blocks are run; see `archs.layers.stack.Stack`.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "tokens"

    vocab_size: int
    num_classes: int | None = None
    head: Literal["masked_language_model", "sequence", "tokens", "none"] = "masked_language_model"
    pooler: bool = False
    next_sentence: bool = False
    num_types: int = 2
    max_length: int = 512
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_size: int = 3072
    activation: Activation = "gelu"
    dropout_rate: float = 0.1
    norm_epsilon: float = 1e-12
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
        token_types: Int[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B *places outputs"]:
        """Reads the tokens where `mask` is True, all of type 0 if no `token_types` are given.

        Raises ValueError if fields contradict each other, or the tokens are more than `max_length`.
        """
        self.check()
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        drop = nn.Dropout(self.dropout_rate, deterministic=not train)
        init = nn.initializers.normal(0.02)

        embedding = nn.Embed(self.vocab_size, self.hidden_size, embedding_init=init, **dtypes, name="embedding")
        types = nn.Embed(self.num_types, self.hidden_size, embedding_init=init, **dtypes, name="types")
        x = embedding(tokens) + types(jnp.zeros_like(tokens) if token_types is None else token_types)
        x = Positions("learned", self.max_length, **dtypes, name="positions")(x)
        x = drop(nn.LayerNorm(epsilon=self.norm_epsilon, **dtypes, name="norm")(x))
        block = {
            "num_heads": self.num_heads,
            "mlp_size": self.mlp_size,
            "norm": "post",
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
            "inner_dropout_rate": 0.0,
            "init_std": 0.02,
            "output_init_std": 0.02,
            "norm_epsilon": self.norm_epsilon,
            "mixer": self.mixer,
            "mixer_kwargs": mixers.with_dropout(self.mixer, self.mixer_kwargs, self.dropout_rate),
            **dtypes,
        }
        blocks = Stack(self.num_layers, FrozenDict(block), self.scan_layers, self.remat, name="blocks")
        x = blocks(x, mask=mask, train=train)

        judges_next = self.next_sentence and (self.is_initializing() or self.is_mutable_collection("auxiliary"))
        if self.head == "sequence" or self.pooler or judges_next:
            pooled = nn.tanh(nn.Dense(self.hidden_size, kernel_init=init, **dtypes, name="pooler")(x[:, 0]))
        if judges_next:
            follows = Head(2, init, **dtypes, name="next_sentence_head")(pooled)
            if not self.is_initializing():  # else the logits would be taken for variables
                self.sow("auxiliary", "next_sentence", follows)
        if self.head == "masked_language_model":
            head = VocabularyHead(self.activation, self.norm_epsilon, **dtypes, name="head")
            return head(x, embedding.embedding)
        x = pooled if self.head == "sequence" or self.pooler else x
        return Head(self.num_classes, init, **dtypes, name="head")(x if self.head == "none" else drop(x))

    def check(self) -> None:
        """Raises ValueError if fields contradict each other, or one of them would do nothing."""
        problems = {
            f"hidden_size={self.hidden_size} is not divisible by num_heads={self.num_heads}": (
                self.hidden_size % self.num_heads != 0
            ),
            f"num_classes is {self.num_classes} with head={self.head!r}; give it with head='sequence' and "
            "head='tokens', and with no other": (
                (self.num_classes is not None) != (self.head in ("sequence", "tokens"))
            ),
            f"pooler=True goes with head='none' only, and head is {self.head!r}; 'sequence' has a pooler anyway": (
                self.pooler and self.head != "none"
            ),
            f"next_sentence=True goes with head='masked_language_model' only, and head is {self.head!r}": (
                self.next_sentence and self.head != "masked_language_model"
            ),
        }
        refuse("bert", problems)


def sizes(hidden_size: int, num_layers: int) -> dict[str, Any]:
    """Fields of a variant: heads are 64 wide, and perceptrons four times as wide as tokens, in all of them."""
    return {
        "vocab_size": 30_522,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "num_heads": hidden_size // 64,
        "mlp_size": 4 * hidden_size,
    }


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": sizes(128, 2),
    "mini": sizes(256, 4),
    "small": sizes(512, 4),
    "medium": sizes(512, 8),
    "base": sizes(768, 12),
    "large": sizes(1024, 24),
}
EXAMPLE = {"tokens": jax.ShapeDtypeStruct((512,), "int32"), "token_types": jax.ShapeDtypeStruct((512,), "int32")}
