"""Recurrence, written once: cells, the scan over time, and stacks of layers in one or both directions.

A cell is an update of a state; the layer owns the weights. The projections of all inputs are one matrix
product before the scan, so that only the product with the hidden state is sequential. Gates are an axis of
the kernels, in the order of cuDNN and PyTorch: input kernel [D, G, H], hidden kernel [H, G, H], bias [G, H].
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float

from archs.layers.activation import ACTIVATIONS
from archs.layers.fields import Dtype

State = tuple[Float[Array, "B H"], ...]  # the last entry is the hidden state, which is the cell's output
# The product of a state with the hidden kernel of some gates (a slice), plus the second bias if any.
HiddenProduct = Callable[..., Float[Array, "B _ H"]]


@dataclass(frozen=True)
class SimpleCell:
    """h' = f(x + U h) (Elman, 1990).

    Attributes:
        activation: f.
    """

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1

    activation: Literal["tanh", "relu"] = "tanh"

    def initial_bias(self, hidden_size: int) -> Float[Array, "1 H"]:
        return jnp.zeros((1, hidden_size))

    def __call__(self, x: Float[Array, "B 1 H"], state: State, product: HiddenProduct) -> State:
        (h,) = state
        return (ACTIVATIONS[self.activation](x + product(h))[:, 0],)


@dataclass(frozen=True)
class GRUCell:
    """Gated recurrent unit: h' = (1 - z) n + z h, with reset gate r, update gate z and candidate n.

    Attributes:
        reset_after: Whether r acts on the product with the hidden state, n = tanh(x + r (U h)), as in cuDNN
            and PyTorch, or on the state before it, n = tanh(x + U (r h)), as in the paper (Cho et al., 2014,
            eq. 8).
    """

    gates: ClassVar[int] = 3
    states: ClassVar[int] = 1

    reset_after: bool = True

    def initial_bias(self, hidden_size: int) -> Float[Array, "3 H"]:
        return jnp.zeros((3, hidden_size))

    def __call__(self, x: Float[Array, "B 3 H"], state: State, product: HiddenProduct) -> State:
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
    """Long short-term memory: c' = f c + i g, h' = o tanh(c') (Hochreiter and Schmidhuber, 1997).

    Attributes:
        forget_bias: Initial bias of the forget gate; 1 lets gradients through from the start (Jozefowicz et
            al., 2015).
    """

    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2

    forget_bias: float = 1.0

    def initial_bias(self, hidden_size: int) -> Float[Array, "4 H"]:
        return jnp.zeros((4, hidden_size)).at[1].set(self.forget_bias)

    def __call__(self, x: Float[Array, "B 4 H"], state: State, product: HiddenProduct) -> State:
        c, h = state
        i, f, g, o = jnp.moveaxis(x + product(h), 1, 0)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        return c, nn.sigmoid(o) * jnp.tanh(c)


Cell = SimpleCell | GRUCell | LSTMCell
CELLS: Mapping[str, type[Cell]] = {"simple": SimpleCell, "gru": GRUCell, "lstm": LSTMCell}


def orthogonal_gates(key: Array, shape: tuple[int, int, int], dtype: str) -> Float[Array, "H G H"]:
    """An orthogonal matrix for each gate: at the start, products over many steps neither grow nor vanish."""
    hidden_size, gates, _ = shape
    q, r = jnp.linalg.qr(jax.random.normal(key, (gates, hidden_size, hidden_size)))
    uniform = q * jnp.sign(jnp.diagonal(r, axis1=1, axis2=2))[:, None]  # over all rotations (Mezzadri, 2007)
    return jnp.moveaxis(uniform, 0, 1).astype(dtype)


class RecurrentLayer(nn.Module):
    """One cell run over time in one direction.

    Attributes:
        cell: The update of the state.
        hidden_size: H.
        bias: One bias per gate, or the second one that cuDNN and PyTorch add to the product with the hidden
            state.
        reverse: Whether to read from the last step to the first.
        unroll: Steps per iteration of the compiled loop; more is faster to run and slower to compile.
        dtype: Type of the matrix products; the state is at least float32.
        param_dtype: Type of the parameters.
    """

    cell: Cell
    hidden_size: int
    bias: Literal["one", "two"] = "one"
    reverse: bool = False
    unroll: int = 1
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
        """
        batch, _, width = sequence.shape
        state_dtype = jnp.promote_types(self.dtype, jnp.float32)
        gates, hidden_size = self.cell.gates, self.hidden_size
        input_init = nn.initializers.lecun_normal(in_axis=0, out_axis=2, batch_axis=1)

        input_kernel = self.param("input_kernel", input_init, (width, gates, hidden_size), self.param_dtype)
        kernel = self.param("hidden_kernel", orthogonal_gates, (hidden_size, gates, hidden_size), self.param_dtype)
        kernel = kernel.astype(self.dtype)
        initial_bias = self.cell.initial_bias(hidden_size).astype(self.param_dtype)
        input_bias = self.param("bias", lambda key: initial_bias).astype(self.dtype)
        hidden_bias = jnp.zeros((gates, hidden_size), state_dtype)
        if self.bias == "two":
            zeros = nn.initializers.zeros
            hidden_bias = self.param("hidden_bias", zeros, hidden_bias.shape, self.param_dtype).astype(state_dtype)

        def product(h: Float[Array, "B H"], gates: slice = slice(None)) -> Float[Array, "B _ H"]:
            u = jnp.einsum("bh,hgk->bgk", h.astype(self.dtype), kernel[:, gates], preferred_element_type=state_dtype)
            return u + hidden_bias[None, gates]

        def step(state: State, inputs: tuple[Array, Array | None]) -> tuple[State, Array]:
            x, real = inputs
            new = self.cell(x, state, product)
            if real is None:
                return new, new[-1]
            new = tuple(jnp.where(real[:, None], after, before) for after, before in zip(new, state, strict=True))
            return new, jnp.where(real[:, None], new[-1], 0)

        if initial_state is None:
            initial_state = (jnp.zeros((batch, hidden_size), state_dtype),) * self.cell.states
        x = jnp.einsum("btd,dgh->tbgh", sequence.astype(self.dtype), input_kernel.astype(self.dtype))
        x = x + input_bias[None, None]
        steps = (x, None if mask is None else mask.T)
        state, outputs = lax.scan(step, initial_state, steps, reverse=self.reverse, unroll=self.unroll)
        return outputs.swapaxes(0, 1).astype(self.dtype), state


class RecurrentStack(nn.Module):
    """Layers of recurrence, each reading the outputs of the one below, with dropout between them.

    Attributes:
        cell: The update of the state, in all layers.
        hidden_size: H, of each direction.
        num_layers: Layers.
        bidirectional: Whether each layer also reads backwards and joins the outputs of both directions.
        dropout_rate: Share of a layer's outputs dropped on the way to the next, in training (Zaremba et al.,
            2014).
        bias, unroll, dtype, param_dtype: As in `RecurrentLayer`.
    """

    cell: Cell
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    bias: Literal["one", "two"] = "one"
    unroll: int = 1
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
