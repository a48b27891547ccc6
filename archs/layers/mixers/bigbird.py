"""Global, windowed and random attention between blocks (BigBird: Zaheer et al., 2020, https://arxiv.org/abs/2007.14062).

The internal transformer construction: the first and last blocks of the sequence are global, so they see everything
and everything sees them; any other block sees those, the blocks around it, and a few at random. Key blocks are
gathered, so work and memory are linear in length. Honours the mask. Each kind of blocks can be left out: R in the
paper's Table 1 is random ones alone, W the window alone.

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

from archs.layers.fields import Dtype, refuse
from archs.layers.mixers import dense

NONE = -1  # stands in a plan for no block


def global_ends(global_blocks: int) -> tuple[int, int]:
    """How many global blocks are at the start, and at the end."""
    return -(-global_blocks // 2), global_blocks // 2


def fixed_plan(num_blocks: int, global_blocks: int, window_blocks: int) -> Int[np.ndarray, "rows _"]:
    """The global blocks and the window of every block that is not global, in order."""
    start, end = global_ends(global_blocks)
    around = {*range(start), *range(num_blocks - end, num_blocks)}
    plan = np.full((num_blocks - global_blocks, global_blocks + window_blocks), NONE)
    for row, block in enumerate(range(start, num_blocks - end)):
        first = block - window_blocks // 2
        seen = sorted(around.union(range(max(first, 0), min(first + window_blocks, num_blocks))))
        plan[row, : len(seen)] = seen
    return plan


def random_plan(
    fixed: Int[np.ndarray, "rows _"], num_blocks: int, num_heads: int, random_blocks: int, seed: int
) -> Int[np.ndarray, "H rows _"]:
    """For every head, blocks that are not among the fixed ones; all others if there are fewer than asked for."""
    rng = np.random.default_rng(seed)
    plan = np.full((num_heads, len(fixed), random_blocks), NONE)
    for row, padded in enumerate(fixed):
        seen = padded[padded != NONE]
        others = num_blocks - len(seen)
        for head in range(num_heads):
            chosen = rng.choice(others, min(random_blocks, others), replace=False)
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

        real = gather(mask) & jnp.tile(jnp.repeat(plan != NONE, block_size, axis=1), (batch, 1))
        visible = dense.visible_keys(block_size, keys * block_size, real, causal=False)
        values = jnp.where(real[:, :, None], gather(v), 0)  # so a query that sees no key gets zero
        queries = q.reshape(batch * rows, block_size, 1, -1)
        mixed = dense.plain(queries, gather(k)[:, :, None], values[:, :, None], visible)
        return mixed.reshape(batch, rows * block_size, -1)

    middle = q[:, start : length - end]
    sparse = jax.vmap(one_head, in_axes=(2, 2, 2, 0), out_axes=2)(middle, k, v, jnp.asarray(plan))
    ends = jnp.concatenate([q[:, :start], q[:, length - end :]], axis=1)
    full = dense.plain(ends, k, v, dense.visible_keys(ends.shape[1], length, mask, causal=False))
    return jnp.concatenate([full[:, :start], sparse, full[:, start:]], axis=1)


class Mixer(nn.Module):
    """Softmax attention over the keys in some blocks.

    Where a sequence ends within a block, and where the mask ends it, the last blocks are global all the same. What is
    computed at padding means nothing, and whatever stands there, NaN included, reaches nothing else. Without a window,
    a block sees itself by chance only, and a query that sees no real key gets zero.

    Attributes:
        block_size: Positions in a block.
        global_blocks: Blocks that see and are seen by all, half at the start and half at the end; if odd, one more at
            the start.
        window_blocks: Blocks around a block that it sees, itself included; odd, or 0.
        random_blocks: Other blocks that it sees, in each head.
        seed: Of the choice of these.
        dtype, param_dtype: Not used: the values decide, and there are no parameters.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"mask"})
    reads: ClassVar[tuple[str, ...]] = ("query", "key")

    block_size: int = 64
    global_blocks: int = 2
    window_blocks: int = 3
    random_blocks: int = 3
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
        """Raises ValueError if there are no blocks to see, less than none, or more on one side than on the other."""
        self.check()
        batch, length, heads, _ = q.shape
        mask = jnp.ones((batch, length), bool) if mask is None else mask
        q, k, v = (jnp.where(mask[..., None, None], x, 0) for x in (q, k, v))
        num_blocks = -(-length // self.block_size)
        if num_blocks <= self.global_blocks:
            return dense.plain(q, k, v, dense.visible_keys(length, length, mask, causal=False))
        more = -length % self.block_size
        q, k, v = (jnp.pad(x, ((0, 0), (0, more), (0, 0), (0, 0))) for x in (q, k, v))
        mask = jnp.pad(mask, ((0, 0), (0, more)))
        fixed = fixed_plan(num_blocks, self.global_blocks, self.window_blocks)
        chosen = random_plan(fixed, num_blocks, heads, self.random_blocks, self.seed)
        plan = np.concatenate([np.broadcast_to(fixed, (heads, *fixed.shape)), chosen], axis=2)
        return attend(q, k, v, mask, plan, self.block_size)[:, :length]

    def check(self) -> None:
        """Raises ValueError if the numbers of blocks are not as said above."""
        names = ("global_blocks", "window_blocks", "random_blocks")
        counts = [getattr(self, name) for name in names]
        problems = {
            **{f"{name} is {count}; allowed: at least 0": count < 0 for name, count in zip(names, counts, strict=True)},
            f"window_blocks is {self.window_blocks}; allowed: odd numbers, for as many blocks before as after, or 0": (
                self.window_blocks > 0 and self.window_blocks % 2 == 0
            ),
            f"{', '.join(names)} are all 0, so nothing is seen; raise one of them": not any(counts),
        }
        refuse("mixer bigbird", problems)
