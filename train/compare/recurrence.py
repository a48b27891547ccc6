"""A recurrent layer as a function of its first state, so that what a state keeps of it can be differentiated."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from archs.layers.recurrent import CELLS, RecurrentLayer
from train.compare.subject import Subject


class Recurrence(nn.Module):
    """A recurrent layer that starts from a state that is given, and shows its state after each step.

    Attributes:
        layer: of the architecture `rnn`.
    """

    layer: RecurrentLayer

    @nn.compact
    def __call__(
        self, state: Float[Array, "B states H"], sequence: Float[Array, "B T D"]
    ) -> Float[Array, "B T states H"]:
        def step(layer: Any, state: Any, inputs: Any) -> Any:
            entries = tuple(jnp.moveaxis(state, 1, 0))
            _, entries = layer(inputs[:, None], initial_state=entries)
            state = jnp.stack(entries, axis=1)
            return state, state

        over_time = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        return over_time(self.layer, state, sequence)[1]


def recurrence(cell: str, steps: int, input_size: int, hidden_size: int, **fields: Any) -> Subject:
    """A layer of the architecture `rnn` as a function of its first state, to the states after each step.

    Args:
        cell: "simple", "gru" or "lstm".
        steps: T.
        input_size: D.
        hidden_size: H.
        **fields: of the cell, such as `forget_bias`.

    Returns:
        Reads `state` [states, H], of the LSTM memory and output, of the others output alone, and `sequence` [T, D];
        gives [T, states, H]. Parameters lie in `layer`: kernels [D or H, gates, H] and bias [gates, H].
    """
    module = RecurrentLayer(CELLS[cell](**fields), hidden_size)
    return Subject(Recurrence(module), {"state": (module.cell.states, hidden_size), "sequence": (steps, input_size)})
