"""Sequence to sequence with recurrent networks: one reads the source, another writes the target.

`cho` (https://arxiv.org/abs/1406.1078) and `sutskever` (https://arxiv.org/abs/1409.3215), both of 2014, squeeze
the source through one vector of fixed size. `bahdanau` (2014, https://arxiv.org/abs/1409.0473) lets the decoder
look back: each step weighs all states of the encoder by how well they fit its own, an alignment learned with
the rest. `luong` (2015, https://arxiv.org/abs/1508.04025) does so after its step instead of before, with
products for scores, and feeds what it found into the next step.
"""

from typing import Any, ClassVar, Literal, NamedTuple

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs.layers.fields import Dtype, refuse
from archs.layers.head import Head
from archs.layers.recurrent import CELLS, Cell, GRUCell, RecurrentStack, State

Score = Literal["additive", "dot", "general", "concat"]


class Memory(NamedTuple):
    """What the encoder leaves to the decoder.

    Attributes:
        states: Of the encoder at every source token.
        keys: What queries are compared with; they depend on the states alone. None without attention.
        mask: Which source tokens are real.
        summary: The source in one vector.
    """

    states: Float[Array, "B S D"]
    keys: Float[Array, "B S K"] | None
    mask: Bool[Array, "B S"]
    summary: Float[Array, "B H"]


class Carry(NamedTuple):
    """What the decoder carries from step to step: the state of each layer, and the output that is fed back."""

    states: tuple[State, ...]
    fed: Float[Array, "B H"] | None


class Attention(nn.Module):
    """A weighted mean of the encoder's states, the weights a softmax over their scores.

    Attributes:
        score: Of a query q and a state h: "additive" v·tanh(W q + U h + b) (Bahdanau et al., 2014, A.1.2); "dot" q·h,
            "general" q·W h, "concat" v·tanh(W [q; h]) (Luong et al., 2015, section 3.1).
        hidden_size: H, the width of queries.
        alignment_size: Units of the tanh, for "additive" and "concat".
    """

    score: Score
    hidden_size: int
    alignment_size: int
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    def setup(self) -> None:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if self.score in ("additive", "concat"):
            self.query = nn.Dense(self.alignment_size, use_bias=self.score == "additive", **dtypes)
            self.key = nn.Dense(self.alignment_size, use_bias=False, **dtypes)
            self.energy = nn.Dense(1, use_bias=False, **dtypes)  # a bias would be the same for all states
        elif self.score == "general":
            self.key = nn.Dense(self.hidden_size, use_bias=False, **dtypes)

    def keys(self, states: Float[Array, "B S D"]) -> Float[Array, "B S K"]:
        """The part of the scores that needs no query, once for a whole target."""
        if self.score != "dot":
            return self.key(states)
        if states.shape[-1] != self.hidden_size:
            raise ValueError(
                f"seq2seq: attention='dot' needs encoder states as wide as the decoder's, {self.hidden_size}, and they "
                f"have {states.shape[-1]}; use attention='general' or bidirectional=False"
            )
        return states

    def __call__(
        self, query: Float[Array, "B T H"], memory: Memory
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B T S"]]:
        """Returns a context for each query, and its weights, zero where the memory's mask is False."""
        assert memory.keys is not None
        if self.score in ("additive", "concat"):
            energies = nn.tanh(self.query(query)[:, :, None] + memory.keys[:, None])
            scores = self.energy(energies)[..., 0]
        else:
            scores = jnp.einsum("bth,bsh->bts", query.astype(self.dtype), memory.keys)
        scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
        weights = nn.softmax(jnp.where(memory.mask[:, None], scores, jnp.finfo(scores.dtype).min))
        return jnp.einsum("bts,bsd->btd", weights.astype(self.dtype), memory.states), weights


class Decoder(nn.Module):
    """Recurrent layers over the words written so far, and what they learn of the source.

    With `attention="additive"`, a step first looks at the source with its old state, then reads the word and
    what it found; with other scores, it first reads the word, then looks with its new state. Attributes are
    those of `Model`.
    """

    cell: Cell
    hidden_size: int
    num_layers: int
    attention: Literal["none"] | Score
    alignment_size: int
    input_feeding: bool
    summary_every_step: bool
    maxout_size: int | None
    dropout_rate: float
    dtype: Dtype
    param_dtype: Dtype

    def setup(self) -> None:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.stack = RecurrentStack(
            cell=self.cell,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            dropout_rate=self.dropout_rate,
            **dtypes,
        )
        if self.attention != "none":
            self.attend = Attention(self.attention, self.hidden_size, self.alignment_size, **dtypes)
        if self.attention in ("dot", "general", "concat"):
            self.attentional = nn.Dense(self.hidden_size, use_bias=False, **dtypes)
        if self.maxout_size is not None:
            self.maxout = nn.Dense(2 * self.maxout_size, **dtypes)

    @property
    def step_by_step(self) -> bool:
        """Whether a step reads what the one before found, so that steps cannot be read together."""
        return self.attention == "additive" or self.input_feeding

    def __call__(
        self, carry: Carry, words: Float[Array, "B T W"], memory: Memory, *, train: bool
    ) -> tuple[Carry, tuple[Float[Array, "B T D"], Float[Array, "B T S"] | None]]:
        """Reads words, one only if it goes `step_by_step`; returns what the vocabulary is scored by, and alignments."""
        if self.attention == "additive":
            return self.look_then_read(carry, words, memory, train=train)
        inputs = [words]
        if self.summary_every_step:
            summary = jnp.broadcast_to(memory.summary[:, None], (*words.shape[:2], memory.summary.shape[-1]))
            inputs.append(summary)
        if carry.fed is not None:
            inputs.append(carry.fed[:, None])
        outputs, states = self.stack(jnp.concatenate(inputs, axis=-1), None, carry.states, train=train)
        if self.attention == "none":
            read = [outputs, *inputs] if self.summary_every_step else [outputs]
            return Carry(states, None), (self.readout(read), None)
        context, weights = self.attend(outputs, memory)
        attentional = nn.tanh(self.attentional(jnp.concatenate([context, outputs], axis=-1)))  # eq. 5
        return Carry(states, attentional[:, -1] if self.input_feeding else None), (attentional, weights)

    def look_then_read(
        self, carry: Carry, words: Float[Array, "B 1 W"], memory: Memory, *, train: bool
    ) -> tuple[Carry, tuple[Float[Array, "B 1 D"], Float[Array, "B 1 S"]]]:
        """One step of Bahdanau et al., A.2.2; its output, too, reads the old state."""
        old = carry.states[-1][-1][:, None].astype(self.dtype)
        context, weights = self.attend(old, memory)
        _, states = self.stack(jnp.concatenate([words, context], axis=-1), None, carry.states, train=train)
        return Carry(states, None), (self.readout([old, words, context]), weights)

    def readout(self, parts: list[Array]) -> Float[Array, "B T D"]:
        x = jnp.concatenate(parts, axis=-1)
        if self.maxout_size is None:
            return x
        return self.maxout(x).reshape(*x.shape[:2], self.maxout_size, 2).max(axis=-1)


class Model(nn.Module):
    """An encoder, and a decoder that predicts each token of the target from the true ones before it.

    Attributes:
        source_vocab_size: Tokens of the source.
        target_vocab_size: Tokens of the target; each step gives a logit for each.
        start_token: What the decoder reads before the first token of the target.
        cell: The recurrent unit; "gru" resets before the product, as Cho et al. do.
        hidden_size: H, units of each layer, and of each direction of the encoder.
        embedding_size: Width of the word vectors.
        num_layers: Layers of the encoder, and of the decoder.
        bidirectional: Whether the encoder also reads backwards.
        reverse_source: Whether the source is read from its end, which brings its first words near to the
            target's (Sutskever et al., 2014, section 3.3).
        initial_state: Of the decoder: "copy" the encoder's final states layer by layer; "dense" a learned map
            of the source's summary.
        summary_every_step: Whether the summary is also read in every step of the decoder and by its output
            (Cho et al., 2014); without attention only.
        attention: How encoder states are scored; "none" leaves the decoder with its initial state. See
            `Attention`.
        alignment_size: Units inside the scores "additive" and "concat" only; None is `hidden_size`.
        input_feeding: Whether a step reads the attentional vector of the one before (Luong et al., 2015,
            section 3.3); with their scores only.
        maxout_size: Units of a maxout layer before the vocabulary, each the larger of two (Goodfellow et al.,
            2013); not with Luong's scores, whose attentional vector takes its place. None leaves it out.
        dropout_rate: Share dropped of word vectors, between layers, and before the vocabulary, in training.
        dtype: Type of the computation; logits and recurrent states are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "tokens"

    source_vocab_size: int
    target_vocab_size: int
    start_token: int = 0
    cell: Literal["simple", "gru", "lstm"] = "gru"
    hidden_size: int = 256
    embedding_size: int = 128
    num_layers: int = 1
    bidirectional: bool = False
    reverse_source: bool = False
    initial_state: Literal["copy", "dense"] = "dense"
    summary_every_step: bool = False
    attention: Literal["none", "additive", "dot", "general", "concat"] = "additive"
    alignment_size: int | None = None
    input_feeding: bool = False
    maxout_size: int | None = None
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    def setup(self) -> None:
        self.check()
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        cell = GRUCell(reset_after=False) if self.cell == "gru" else CELLS[self.cell]()
        self.source_embedding = nn.Embed(self.source_vocab_size, self.embedding_size, **dtypes)
        self.target_embedding = nn.Embed(self.target_vocab_size, self.embedding_size, **dtypes)
        self.encoder = RecurrentStack(
            cell=cell,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout_rate=self.dropout_rate,
            **dtypes,
        )
        if self.summary_every_step:
            self.summary = nn.Dense(self.hidden_size, **dtypes)
        if self.initial_state == "dense":
            self.bridge = [nn.Dense(self.hidden_size, **dtypes) for _ in range(self.num_layers * cell.states)]
        self.decoder = Decoder(
            cell=cell,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            attention=self.attention,
            alignment_size=self.alignment_size or self.hidden_size,
            input_feeding=self.input_feeding,
            summary_every_step=self.summary_every_step,
            maxout_size=self.maxout_size,
            dropout_rate=self.dropout_rate,
            **dtypes,
        )
        self.dropout = nn.Dropout(self.dropout_rate)
        self.head = Head(self.target_vocab_size, **dtypes)

    def check(self) -> None:
        """Raises ValueError if fields contradict each other, or one of them would do nothing."""
        luong = self.attention in ("dot", "general", "concat")
        problems = {
            "initial_state='copy' needs bidirectional=False: the encoder has two states for each of the decoder's": (
                self.initial_state == "copy" and self.bidirectional
            ),
            "summary_every_step goes with attention='none' only: attention already reads the source in every step": (
                self.summary_every_step and self.attention != "none"
            ),
            "alignment_size goes with attention='additive' or 'concat' only": (
                self.alignment_size is not None and self.attention not in ("additive", "concat")
            ),
            "input_feeding goes with attention='dot', 'general' or 'concat' only": self.input_feeding and not luong,
            "maxout_size goes with attention='none' or 'additive' only": self.maxout_size is not None and luong,
            f"start_token is {self.start_token}, which must be from 0 to {self.target_vocab_size - 1}": (
                not 0 <= self.start_token < self.target_vocab_size
            ),
        }
        refuse("seq2seq", problems)

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
        follows; the collection `cache` keeps what the encoder left and what the decoder carries. The first call gives
        the source, later ones None.

        Raises ValueError if fields contradict each other.
        """
        memory: Memory
        carry: Carry
        if source is None:
            memory, carry = (self.get_variable("cache", name) for name in ("memory", "carry"))
        else:
            memory, carry = self.encode(source, source_mask, train=train)
        if decode:
            carry, logits = self.decode(memory, carry, target, train=train)
            self.put_variable("cache", "memory", memory)
            self.put_variable("cache", "carry", carry)
            return logits
        before = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=self.start_token)
        return self.decode(memory, carry, before, train=train)[1]

    def encode(
        self, source: Int[Array, "B S"], source_mask: Bool[Array, "B S"] | None = None, *, train: bool = False
    ) -> tuple[Memory, Carry]:
        """Reads the source; returns what the decoder needs in every step, and what it starts with."""
        mask = jnp.ones(source.shape, bool) if source_mask is None else source_mask
        words = self.dropout(self.source_embedding(source), deterministic=not train)
        if self.reverse_source:  # padding comes first then, and masked steps leave the state alone
            states, final = self.encoder(words[:, ::-1], mask[:, ::-1], train=train)
            states = states[:, ::-1]
        else:
            states, final = self.encoder(words, mask, train=train)
        summary = final[-1][-1].astype(self.dtype)  # of a bidirectional encoder: backwards, as Bahdanau et al. do
        if self.summary_every_step:
            summary = nn.tanh(self.summary(summary))
        keys = None if self.attention == "none" else self.decoder.attend.keys(states)
        return Memory(states, keys, mask, summary), self.start(final, summary)

    def start(self, final: tuple[State, ...], summary: Float[Array, "B H"]) -> Carry:
        """The decoder's initial states, and zeros for what is fed back."""
        states = final
        if self.initial_state == "dense":
            width = len(final[0])
            entries = [nn.tanh(bridge(summary)).astype(final[0][0].dtype) for bridge in self.bridge]
            states = tuple(tuple(entries[i : i + width]) for i in range(0, len(entries), width))
        return Carry(states, jnp.zeros_like(summary) if self.input_feeding else None)

    def decode(
        self, memory: Memory, carry: Carry, tokens: Int[Array, "B T"], *, train: bool = False
    ) -> tuple[Carry, Float[Array, "B T vocabulary"]]:
        """Reads tokens of the target; returns what to carry to the next ones, and logits for what follows each."""
        words = self.dropout(self.target_embedding(tokens), deterministic=not train)
        if self.decoder.step_by_step:

            def step(decoder: Decoder, carry: Carry, word: Float[Array, "B W"]) -> Any:
                return decoder(carry, word[:, None], memory, train=train)

            scan = nn.scan(
                step, variable_broadcast="params", split_rngs={"params": False, "dropout": True}, in_axes=1, out_axes=1
            )
            carry, (features, weights) = scan(self.decoder, carry, words)
            features, weights = features[:, :, 0], weights[:, :, 0]
        else:
            carry, (features, weights) = self.decoder(carry, words, memory, train=train)
        if weights is not None:
            self.sow("intermediates", "alignment", weights)
        return carry, self.head(self.dropout(features, deterministic=not train))


VARIANTS: dict[str, dict[str, Any]] = {
    "cho": {
        "cell": "gru",
        "hidden_size": 1000,
        "embedding_size": 100,
        "attention": "none",
        "summary_every_step": True,
        "maxout_size": 500,
    },
    "sutskever": {
        "cell": "lstm",
        "hidden_size": 1000,
        "embedding_size": 1000,
        "num_layers": 4,
        "reverse_source": True,
        "initial_state": "copy",
        "attention": "none",
    },
    "bahdanau": {
        "cell": "gru",
        "hidden_size": 1000,
        "embedding_size": 620,
        "bidirectional": True,
        "attention": "additive",
        "alignment_size": 1000,
        "maxout_size": 500,
    },
    "luong": {
        "cell": "lstm",
        "hidden_size": 1000,
        "embedding_size": 1000,
        "num_layers": 4,
        "reverse_source": True,
        "initial_state": "copy",
        "attention": "general",
        "input_feeding": True,
        "dropout_rate": 0.2,
    },
}
EXAMPLE = {"source": jax.ShapeDtypeStruct((30,), "int32"), "target": jax.ShapeDtypeStruct((30,), "int32")}
