"""Recurrence, written once: cells, the scan over time, and stacks of layers in one or both directions.

A cell is an update of a state; the layer owns the weights. The projections of all inputs are one matrix
product before the scan, so that only the product with the hidden state is sequential. Gates are an axis of
the kernels, in the order of cuDNN and PyTorch: input kernel [D, G, H], hidden kernel [H, G, H], bias [G, H].
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jax.experimental import rnn as cudnn
from jaxtyping import Array, Bool, Float

from archs.layers.activation import ACTIVATIONS
from archs.layers.fields import Dtype
from archs.layers.orthogonal import orthogonal_matrices

State = tuple[Float[Array, "B H"], ...]  # the last entry is the hidden state, which is the cell's output
# The product of a state with the hidden kernel of some gates (a slice), plus the second bias if any.
HiddenProduct = Callable[..., Float[Array, "B _ H"]]
Weights = Mapping[str, Float[Array, "_ H"]]


def normalize(x: Float[Array, "*batch G H"], scale: Float[Array, "G H"], bias: Float[Array, "G H"]) -> Array:
    """Layer normalisation over the units of all G gates together (Ba et al., 2016, eq. 3 and 4)."""
    mean = x.mean(axis=(-2, -1), keepdims=True)
    variance = jnp.square(x - mean).mean(axis=(-2, -1), keepdims=True)
    ones = (1,) * (x.ndim - 2)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * scale.reshape(*ones, *scale.shape) + bias.reshape(
        *ones, *bias.shape
    )


@dataclass(frozen=True)
class SimpleCell:
    """h' = f(x + U h) (Elman, 1990).

    Attributes:
        activation: f.
        layer_norm: Whether the sum is normalised (Ba et al., 2016, eq. 4).
    """

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1
    norm_groups: ClassVar[tuple[slice, ...]] = ()

    activation: Literal["tanh", "relu"] = "tanh"
    layer_norm: bool = False

    def initial_bias(self, hidden_size: int) -> Float[Array, "1 H"]:
        return jnp.zeros((1, hidden_size))

    def initial_weights(self, hidden_size: int) -> Weights:
        if not self.layer_norm:
            return {}
        return {"sum_norm_scale": jnp.ones((1, hidden_size)), "sum_norm_bias": jnp.zeros((1, hidden_size))}

    def __call__(self, x: Float[Array, "B 1 H"], state: State, product: HiddenProduct, weights: Weights) -> State:
        (h,) = state
        x = x + product(h)
        if self.layer_norm:
            x = normalize(x, weights["sum_norm_scale"], weights["sum_norm_bias"])
        return (ACTIVATIONS[self.activation](x)[:, 0],)


@dataclass(frozen=True)
class GRUCell:
    """Gated recurrent unit: h' = (1 - z) n + z h, with reset gate r, update gate z and candidate n.

    Attributes:
        reset_after: Whether r acts on the product with the hidden state, n = tanh(x + r (U h)), as in cuDNN
            and PyTorch, or on the state before it, n = tanh(x + U (r h)), as in the paper (Cho et al., 2014,
            eq. 8).
        layer_norm: Whether the products with input and state are normalised, those of the two gates together
            and those of the candidate (Ba et al., 2016, supplementary material).
    """

    gates: ClassVar[int] = 3
    states: ClassVar[int] = 1
    norm_groups: ClassVar[tuple[slice, ...]] = (slice(0, 2), slice(2, 3))

    reset_after: bool = True
    layer_norm: bool = False

    def initial_bias(self, hidden_size: int) -> Float[Array, "3 H"]:
        return jnp.zeros((3, hidden_size))

    def initial_weights(self, hidden_size: int) -> Weights:
        return {}

    def __call__(self, x: Float[Array, "B 3 H"], state: State, product: HiddenProduct, weights: Weights) -> State:
        (h,) = state
        if self.reset_after:
            u = product(h)
            r, z = nn.sigmoid(x[:, 0] + u[:, 0]), nn.sigmoid(x[:, 1] + u[:, 1])
            n = jnp.tanh(x[:, 2] + r * u[:, 2])
        else:
            u = product(h, slice(0, 2))
            r, z = nn.sigmoid(x[:, 0] + u[:, 0]), nn.sigmoid(x[:, 1] + u[:, 1])
            n = jnp.tanh(x[:, 2] + product(r * h, slice(2, 3))[:, 0])
        return ((1 - z) * n + z * h,)


@dataclass(frozen=True)
class LSTMCell:
    """Long short-term memory: c' = f c + i g, h' = o tanh(c') (Hochreiter and Schmidhuber, 1997; its forget
    gate f is of Gers, Schmidhuber and Cummins, 2000).

    Attributes:
        forget_bias: Initial bias of the forget gate; 1 lets gradients through from the start (Jozefowicz et
            al., 2015).
        peephole: Whether the gates also see the memory, one weight per unit: i and f the old one, o the new
            one (Gers and Schmidhuber, 2000).
        layer_norm: Whether the products with input and state are normalised, each over the four gates, and
            the memory on its way out (Ba et al., 2016, supplementary material).
    """

    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2
    norm_groups: ClassVar[tuple[slice, ...]] = (slice(0, 4),)

    forget_bias: float = 1.0
    peephole: bool = False
    layer_norm: bool = False

    def initial_bias(self, hidden_size: int) -> Float[Array, "4 H"]:
        return jnp.zeros((4, hidden_size)).at[1].set(self.forget_bias)

    def initial_weights(self, hidden_size: int) -> Weights:
        peephole = {"peephole": jnp.zeros((3, hidden_size))}  # of i, f and o
        norm = {"memory_norm_scale": jnp.ones((1, hidden_size)), "memory_norm_bias": jnp.zeros((1, hidden_size))}
        return (peephole if self.peephole else {}) | (norm if self.layer_norm else {})

    def __call__(self, x: Float[Array, "B 4 H"], state: State, product: HiddenProduct, weights: Weights) -> State:
        c, h = state
        i, f, g, o = jnp.moveaxis(x + product(h), 1, 0)
        if self.peephole:
            i = i + weights["peephole"][None, 0] * c
            f = f + weights["peephole"][None, 1] * c
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        if self.peephole:
            o = o + weights["peephole"][None, 2] * c
        out = c
        if self.layer_norm:
            out = normalize(c[:, None], weights["memory_norm_scale"], weights["memory_norm_bias"])[:, 0]
        return c, nn.sigmoid(o) * jnp.tanh(out)


Cell = SimpleCell | GRUCell | LSTMCell
CELLS: Mapping[str, type[Cell]] = {"simple": SimpleCell, "gru": GRUCell, "lstm": LSTMCell}


def orthogonal_gates(key: Array, shape: tuple[int, int, int], dtype: str) -> Float[Array, "H G H"]:
    """An orthogonal matrix for each gate: at the start, products over many steps neither grow nor vanish."""
    hidden_size, gates, _ = shape
    return jnp.moveaxis(orthogonal_matrices(key, gates, hidden_size), 0, 1).astype(dtype)


class RecurrentLayer(nn.Module):
    """One cell run over time in one direction.

    Attributes:
        cell: The update of the state.
        hidden_size: H.
        bias: One bias per gate, or the second one that cuDNN and PyTorch add to the product with the hidden
            state.
        reverse: Whether to read from the last step to the first.
        unroll: Steps per iteration of the compiled loop; more is faster to run and slower to compile.
        remat: Whether the backward pass computes each step again instead of keeping its gates: less memory
            for a third more work.
        implementation: "scan", which runs anywhere, or "cudnn", the same LSTM fused by cuDNN on NVIDIA GPUs.
        dtype: Type of the matrix products; the state is at least float32.
        param_dtype: Type of the parameters.
    """

    cell: Cell
    hidden_size: int
    bias: Literal["one", "two"] = "one"
    reverse: bool = False
    unroll: int = 1
    remat: bool = False
    implementation: Literal["scan", "cudnn"] = "scan"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        sequence: Float[Array, "B T D"],
        mask: Bool[Array, "B T"] | None = None,
        initial_state: State | None = None,
    ) -> tuple[Float[Array, "B T H"], State]:
        """Returns outputs, zero where the mask is False, and the state after the last step where it is True.

        A masked step leaves the state alone, so padding at either end changes nothing, in both directions.
        Raises ValueError if `implementation` cannot do what is asked.
        """
        batch, _, width = sequence.shape
        state_dtype = jnp.promote_types(self.dtype, jnp.float32)
        gates, hidden_size = self.cell.gates, self.hidden_size
        input_init = nn.initializers.lecun_normal(in_axis=0, out_axis=2, batch_axis=1)

        def vectors(name: str, values: Float[Array, "_ H"], dtype: Any = state_dtype) -> Float[Array, "_ H"]:
            return self.param(name, lambda key: values.astype(self.param_dtype)).astype(dtype)

        input_kernel = self.param("input_kernel", input_init, (width, gates, hidden_size), self.param_dtype)
        hidden_kernel = self.param(
            "hidden_kernel", orthogonal_gates, (hidden_size, gates, hidden_size), self.param_dtype
        )
        weights = {"input_kernel": input_kernel.astype(self.dtype), "hidden_kernel": hidden_kernel.astype(self.dtype)}
        weights["bias"] = vectors("bias", self.cell.initial_bias(hidden_size), self.dtype)
        zeros, ones = jnp.zeros((gates, hidden_size)), jnp.ones((gates, hidden_size))
        if self.bias == "two":
            weights["hidden_bias"] = vectors("hidden_bias", zeros)
        if self.cell.layer_norm and self.cell.norm_groups:
            for side in ("input", "hidden"):
                weights[f"{side}_norm_scale"] = vectors(f"{side}_norm_scale", ones)
                weights[f"{side}_norm_bias"] = vectors(f"{side}_norm_bias", zeros)
        own = {name: vectors(name, values) for name, values in self.cell.initial_weights(hidden_size).items()}

        if initial_state is None:
            initial_state = (jnp.zeros((batch, hidden_size), state_dtype),) * self.cell.states
        if self.implementation == "scan":
            outputs, state = self._scan(sequence, mask, initial_state, weights, own)
        else:
            self._check_cudnn(mask)
            outputs, state = cudnn_lstm(sequence, initial_state, weights, reverse=self.reverse)
        return outputs.astype(self.dtype), state

    def _scan(
        self,
        sequence: Float[Array, "B T D"],
        mask: Bool[Array, "B T"] | None,
        initial_state: State,
        weights: Mapping[str, Array],
        own: Weights,
    ) -> tuple[Float[Array, "B T H"], State]:
        """The scan over time; `own` are the weights that the cell declares, `weights` all others."""
        state_dtype = initial_state[0].dtype
        kernel = weights["hidden_kernel"]

        def product(h: Float[Array, "B H"], gates: slice = slice(0, self.cell.gates)) -> Float[Array, "B _ H"]:
            u = jnp.einsum("bh,hgk->bgk", h.astype(self.dtype), kernel[:, gates], preferred_element_type=state_dtype)
            if "hidden_bias" in weights:
                u = u + weights["hidden_bias"][None, gates]
            return self._normalize(u, weights, "hidden", gates)

        def step(state: State, inputs: tuple[Array, Array | None]) -> tuple[State, Array]:
            x, real = inputs
            new = self.cell(x, state, product, own)
            if real is None:
                return new, new[-1]
            new = tuple(jnp.where(real[:, None], after, before) for after, before in zip(new, state, strict=True))
            return new, jnp.where(real[:, None], new[-1], 0)

        x = jnp.einsum("btd,dgh->tbgh", sequence.astype(self.dtype), weights["input_kernel"])
        x = self._normalize(x, weights, "input", slice(0, self.cell.gates)) + weights["bias"][None, None]
        body = jax.checkpoint(step, prevent_cse=False) if self.remat else step
        steps = (x, None if mask is None else mask.T)
        state, outputs = lax.scan(body, initial_state, steps, reverse=self.reverse, unroll=self.unroll)
        return outputs.swapaxes(0, 1), state

    def _normalize(
        self, x: Float[Array, "*batch G H"], weights: Mapping[str, Array], side: str, gates: slice
    ) -> Float[Array, "*batch G H"]:
        """Normalises products of some gates, each group of the cell's by itself."""
        if not (self.cell.layer_norm and self.cell.norm_groups):
            return x
        scale, bias = weights[f"{side}_norm_scale"], weights[f"{side}_norm_bias"]
        groups = [g for g in self.cell.norm_groups if gates.start <= g.start and g.stop <= gates.stop]
        parts = [x[..., g.start - gates.start : g.stop - gates.start, :] for g in groups]
        return jnp.concatenate([normalize(p, scale[g], bias[g]) for p, g in zip(parts, groups, strict=True)], axis=-2)

    def _check_cudnn(self, mask: Bool[Array, "B T"] | None) -> None:
        cell = self.cell
        unfit = {
            "cell but the LSTM": not isinstance(cell, LSTMCell),
            "peephole": isinstance(cell, LSTMCell) and cell.peephole,
            "layer_norm": cell.layer_norm,
            "mask": mask is not None,
            "remat": self.remat,
            "unroll": self.unroll != 1,
            f"dtype={self.dtype!r}": self.dtype != "float32",
            f"kernel for {jax.default_backend()}": jax.default_backend() != "gpu",
        }
        for what, asked in unfit.items():
            if asked:
                raise ValueError(f"rnn: implementation='cudnn' has no {what}; use implementation='scan'")


def cudnn_lstm(
    sequence: Float[Array, "B T D"], initial_state: State, weights: Mapping[str, Array], *, reverse: bool
) -> tuple[Float[Array, "B T H"], State]:
    """The LSTM of `RecurrentLayer` by cuDNN, which takes all weights of a layer as one vector."""
    batch, length, width = sequence.shape
    c, h = (entry[None] for entry in initial_state)
    hidden_size = c.shape[-1]
    rows = [jnp.moveaxis(weights[name], 0, -1).ravel() for name in ("input_kernel", "hidden_kernel")]  # [G, H, D]
    biases = [weights["bias"].ravel(), weights.get("hidden_bias", jnp.zeros_like(weights["bias"])).ravel()]
    packed = jnp.concatenate([*rows, *biases])
    x = jnp.flip(sequence, axis=1) if reverse else sequence
    lengths = jnp.full(batch, length, jnp.int32)
    outputs, h, c = cudnn.lstm(x, h, c, packed, lengths, width, hidden_size, 1, 0.0, False)
    return jnp.flip(outputs, axis=1) if reverse else outputs, (c[0], h[0])


class RecurrentStack(nn.Module):
    """Layers of recurrence, each reading the outputs of the one below, with dropout between them.

    Attributes:
        cell: The update of the state, in all layers.
        hidden_size: H, of each direction.
        num_layers: Layers.
        bidirectional: Whether each layer also reads backwards and joins the outputs of both directions.
        dropout_rate: Share of a layer's outputs dropped on the way to the next, in training (Zaremba et al.,
            2014).
        bias, unroll, remat, implementation, dtype, param_dtype: As in `RecurrentLayer`.
    """

    cell: Cell
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    bias: Literal["one", "two"] = "one"
    unroll: int = 1
    remat: bool = False
    implementation: Literal["scan", "cudnn"] = "scan"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        sequence: Float[Array, "B T D"],
        mask: Bool[Array, "B T"] | None = None,
        initial_states: tuple[State, ...] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "B T outputs"], tuple[State, ...]]:
        """Returns the last layer's outputs, and final states by layer and direction, forward first."""
        if mask is not None:  # whatever stands in the padding, NaN included, must not reach a gradient
            sequence = jnp.where(mask[:, :, None], sequence, 0)
        directions = {"forward": False, "backward": True} if self.bidirectional else {"forward": False}
        states: list[State] = []
        for layer in range(self.num_layers):
            if layer:
                sequence = nn.Dropout(self.dropout_rate, deterministic=not train)(sequence)
            outputs = []
            for direction, reverse in directions.items():
                recurrence = RecurrentLayer(
                    cell=self.cell,
                    hidden_size=self.hidden_size,
                    bias=self.bias,
                    reverse=reverse,
                    unroll=self.unroll,
                    remat=self.remat,
                    implementation=self.implementation,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    name=f"{direction}_{layer}",
                )
                initial_state = None if initial_states is None else initial_states[len(states)]
                output, state = recurrence(sequence, mask, initial_state)
                outputs.append(output)
                states.append(state)
            sequence = jnp.concatenate(outputs, axis=-1)
        return sequence, tuple(states)
