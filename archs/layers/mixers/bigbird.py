"""Global, windowed and random attention between blocks (BigBird: Zaheer et al., 2020, https://arxiv.org/abs/2007.14062).

The internal transformer construction: the first and last blocks of the sequence are global, so they see everything
and everything sees them; any other block sees those, the blocks around it, and a few at random. Key blocks are
gathered, so work and memory are linear in length. Honours the mask.

The random blocks are a function of seed, length and head, the same in all layers. A query sees no key twice. Hugging
Face's version chooses others in each layer, for most lengths from the beginning of the sequence only, and outside
training it sees the first block again, once for each random one, instead.
"""

from typing import ClassVar

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs.layers.fields import Dtype
from archs.layers.mixers import dense

NONE = -1  # stands in a plan for no block


def global_ends(num_global_blocks: int) -> tuple[int, int]:
    """How many global blocks are at the start, and at the end."""
    return -(-num_global_blocks // 2), num_global_blocks // 2


def fixed_blocks(num_blocks: int, num_global_blocks: int, num_window_blocks: int) -> Int[np.ndarray, "rows _"]:
    """The global blocks and the window of every block that is not global, in order."""
    start, end = global_ends(num_global_blocks)
    around = {*range(start), *range(num_blocks - end, num_blocks)}
    reach = num_window_blocks // 2
    plan = np.full((num_blocks - num_global_blocks, num_global_blocks + num_window_blocks), NONE)
    for row, block in enumerate(range(start, num_blocks - end)):
        seen = sorted(around.union(range(max(block - reach, 0), min(block + reach + 1, num_blocks))))
        plan[row, : len(seen)] = seen
    return plan


def random_blocks(
    fixed: Int[np.ndarray, "rows _"], num_blocks: int, num_heads: int, num_random_blocks: int, seed: int
) -> Int[np.ndarray, "H rows _"]:
    """For every head, blocks that are not among the fixed ones; all others if there are fewer than asked for."""
    rng = np.random.default_rng(seed)
    plan = np.full((num_heads, len(fixed), num_random_blocks), NONE)
    for row, padded in enumerate(fixed):
        seen = padded[padded != NONE]
        others = num_blocks - len(seen)
        for head in range(num_heads):
            chosen = rng.choice(others, min(num_random_blocks, others), replace=False)
            for block in seen:  # from the count among the others to the count among all
                chosen += chosen >= block
            plan[head, row, : len(chosen)] = chosen
    return plan


def attend(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T H K"],
    v: Float[Array, "B T H V"],
    mask: Bool[Array, "B T"],
    plan: Int[np.ndarray, "H rows _"],
    block_size: int,
) -> Float[Array, "B T H V"]:
    """Attention by a plan: the key blocks, for each head, of every block that is not global."""
    batch, length = mask.shape
    _, rows, keys = plan.shape
    start, end = (count * block_size for count in global_ends(length // block_size - rows))

    def one_head(
        q: Float[Array, "B t K"], k: Float[Array, "B T K"], v: Float[Array, "B T V"], plan: Int[Array, "rows _"]
    ) -> Float[Array, "B t V"]:
        def gather(x: Array) -> Array:
            blocks = x.reshape(batch, -1, block_size, *x.shape[2:])
            return blocks[:, jnp.maximum(plan, 0)].reshape(batch * rows, keys * block_size, *x.shape[2:])

        exists = jnp.tile(jnp.repeat(plan != NONE, block_size, axis=1), (batch, 1))
        visible = dense.visible_keys(block_size, keys * block_size, gather(mask) & exists, causal=False)
        queries = q.reshape(batch * rows, block_size, 1, -1)
        mixed = dense.plain(queries, gather(k)[:, :, None], gather(v)[:, :, None], visible)
        return mixed.reshape(batch, rows * block_size, -1)

    middle = q[:, start : length - end]
    sparse = jax.vmap(one_head, in_axes=(2, 2, 2, 0), out_axes=2)(middle, k, v, jnp.asarray(plan))
    ends = jnp.concatenate([q[:, :start], q[:, length - end :]], axis=1)
    full = dense.plain(ends, k, v, dense.visible_keys(ends.shape[1], length, mask, causal=False))
    return jnp.concatenate([full[:, :start], sparse, full[:, start:]], axis=1)


class Mixer(nn.Module):
    """Softmax attention over the keys in some blocks.

    Where a sequence ends within a block, and where the mask ends it, the last blocks are global all the same. What is
    computed at padding means nothing, and whatever stands there, NaN included, reaches nothing else.

    Attributes:
        block_size: Positions in a block.
        num_global_blocks: Blocks that see and are seen by all, half at the start and half at the end; if odd, one more
            at the start.
        num_window_blocks: Blocks around a block that it sees, itself included; odd.
        num_random_blocks: Other blocks that it sees, in each head.
        seed: Of the choice of these.
        dtype, param_dtype: Not used: the values decide, and there are no parameters.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"mask"})
    reads: ClassVar[tuple[str, ...]] = ("query", "key")

    block_size: int = 64
    num_global_blocks: int = 2
    num_window_blocks: int = 3
    num_random_blocks: int = 3
    seed: int = 0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        q: Float[Array, "B T H K"],
        k: Float[Array, "B T H K"],
        v: Float[Array, "B T H V"],
        *,
        mask: Bool[Array, "B T"] | None = None,
        causal: bool = False,
        train: bool = False,
    ) -> Float[Array, "B T H V"]:
        """Raises ValueError if `num_window_blocks` is even."""
        if self.num_window_blocks % 2 == 0:
            raise ValueError(
                f"mixer bigbird: num_window_blocks is {self.num_window_blocks}; allowed: odd numbers, for as many "
                "blocks before as after"
            )
        batch, length, heads, _ = q.shape
        mask = jnp.ones((batch, length), bool) if mask is None else mask
        q, k, v = (jnp.where(mask[..., None, None], x, 0) for x in (q, k, v))
        num_blocks = -(-length // self.block_size)
        if num_blocks <= self.num_global_blocks:
            return dense.plain(q, k, v, dense.visible_keys(length, length, mask, causal=False))
        more = -length % self.block_size
        q, k, v = (jnp.pad(x, ((0, 0), (0, more), (0, 0), (0, 0))) for x in (q, k, v))
        mask = jnp.pad(mask, ((0, 0), (0, more)))
        fixed = fixed_blocks(num_blocks, self.num_global_blocks, self.num_window_blocks)
        chosen = random_blocks(fixed, num_blocks, heads, self.num_random_blocks, self.seed)
        plan = np.concatenate([np.broadcast_to(fixed, (heads, *fixed.shape)), chosen], axis=2)
        return attend(q, k, v, mask, plan, self.block_size)[:, :length]
