"""Recurrent networks: simple (Elman, 1990, https://doi.org/10.1207/s15516709cog1402_1), GRU (Cho et al.,
2014, https://arxiv.org/abs/1406.1078) and LSTM (Hochreiter and Schmidhuber, 1997,
https://doi.org/10.1162/neco.1997.9.8.1735).

One set of weights reads a sequence step by step and keeps what it needs in a state of fixed size, so the
network takes any length. Gates let the state pass through many steps unchanged. Per layer from 128 to 128
units, with one bias per gate, the three have 32,896, 98,688 and 131,584 parameters: as 1, 3 and 4 matrices.
"""

from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs.layers.embedding import SequenceInput
from archs.layers.fields import Dtype, construct
from archs.layers.head import Head
from archs.layers.recurrent import CELLS, RecurrentStack


class Model(nn.Module):
    """A stack of recurrent layers and a linear head on its last state, its mean output or all its outputs.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns what the head would read.
        vocab_size: Tokens that there are, if the input is text; None reads vectors. As many outputs of all steps make a
            language model.
        embedding_size: Width of a token; None is `hidden_size`.
        cell: The recurrent unit.
        hidden_size: Width of the state of each layer and direction.
        num_layers: Layers.
        bidirectional: Whether each layer reads both ways; both widths are then joined.
        outputs: What the head reads: "last" the state after the last real step (of each direction: the one
            that has read the whole sequence), "mean" the mean over real steps, "all" every step.
        output_length: Steps to run; those beyond the input read zeros. With outputs="all", one step in and
            many out. None runs over the input.
        dropout_rate: Share dropped of embeddings, and of outputs between layers and before the head, in training.
        bias: One bias per gate, or two as in cuDNN and PyTorch.
        activation: Of the simple cell only; None is "tanh".
        reset_after: Of the GRU only; None is True. See `GRUCell`.
        forget_bias: Of the LSTM only; None is 1. See `LSTMCell`.
        peephole: Of the LSTM only; None is False. See `LSTMCell`.
        layer_norm: Whether products and memory are normalised in every step. See the cells.
        unroll, remat, implementation: How the recurrence is computed; they change no result. See
            `RecurrentLayer`.
        dtype: Type of the matrix products; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "rows"

    num_classes: int | None
    vocab_size: int | None = None
    embedding_size: int | None = None
    cell: Literal["simple", "gru", "lstm"] = "lstm"
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = False
    outputs: Literal["last", "mean", "all"] = "last"
    output_length: int | None = None
    dropout_rate: float = 0.0
    bias: Literal["one", "two"] = "one"
    activation: Literal["tanh", "relu"] | None = None
    reset_after: bool | None = None
    forget_bias: float | None = None
    peephole: bool | None = None
    layer_norm: bool = False
    unroll: int = 1
    remat: bool = False
    implementation: Literal["scan", "cudnn"] = "scan"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @property
    def causal(self) -> bool:
        """Whether an output depends on its own step and earlier ones only."""
        return not self.bidirectional

    @nn.compact
    def __call__(
        self,
        sequence: Float[Array, "B T D"] | None = None,
        mask: Bool[Array, "B T"] | None = None,
        tokens: Int[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B *steps outputs"]:
        """Reads the steps where `mask` is True, of the tokens if there is a vocabulary, else of the sequence.

        Raises ValueError if the input is of the other kind, if an option belongs to another cell, or if `output_length`
        is shorter than the input or comes with a mask.
        """
        options: dict[str, Any] = {
            "activation": self.activation,
            "reset_after": self.reset_after,
            "forget_bias": self.forget_bias,
            "peephole": self.peephole,
        }
        given = {name: option for name, option in options.items() if option is not None}
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        sizes = (self.vocab_size, self.embedding_size, self.hidden_size)
        embed = SequenceInput("rnn", *sizes, self.dropout_rate, **dtypes, name="embedding")
        x = embed(sequence, tokens, train=train)
        if self.output_length is not None:
            x = self.continued(x, mask)
        stack = RecurrentStack(
            cell=construct(f"rnn: cell={self.cell!r}", CELLS[self.cell], {**given, "layer_norm": self.layer_norm}),
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout_rate=self.dropout_rate,
            bias=self.bias,
            unroll=self.unroll,
            remat=self.remat,
            implementation=self.implementation,
            **dtypes,
            name="stack",
        )
        x, states = stack(x, mask, train=train)
        if self.outputs == "last":
            last_layer = states[-2:] if self.bidirectional else states[-1:]
            x = jnp.concatenate([state[-1] for state in last_layer], axis=-1)
        elif self.outputs == "mean" and mask is not None:  # outputs at padding are zero
            x = x.sum(axis=1) / jnp.maximum(mask.sum(axis=1, keepdims=True), 1).astype(x.dtype)
        elif self.outputs == "mean":
            x = x.mean(axis=1)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Head(self.num_classes, **dtypes, name="head")(x)

    def continued(self, sequence: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B _ D"]:
        """The sequence, continued by zeros to `output_length`."""
        length = sequence.shape[1]
        if mask is not None or self.output_length is None or self.output_length < length:
            problem = "a mask is given" if mask is not None else f"the sequence has {length} steps"
            raise ValueError(
                f"rnn: output_length is {self.output_length}, and {problem}; it must be at least the length of the "
                "sequence, without a mask"
            )
        return jnp.pad(sequence, ((0, 0), (0, self.output_length - length), (0, 0)))


VARIANTS: dict[str, dict[str, Any]] = {cell: {"cell": cell} for cell in CELLS}
EXAMPLE = {"sequence": jax.ShapeDtypeStruct((28, 28), "float32")}  # an image of MNIST by rows
