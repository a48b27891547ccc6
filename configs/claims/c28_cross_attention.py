"""Cross-attention is self-attention but for its inputs, which are two sequences of the same dimension.

The first half is exact: with both inputs equal, the outputs are equal within 10⁻⁶. The second is not needed: attention
from a sequence of width 32 to one of width 48, and of another length, must run. To the letter, it must not.
"""

import numpy as np

SECTION = "Transformers"
SENTENCE = (
    "Except for inputs, cross-attention calculation is the same as self-attention. Cross-attention combines "
    "asymmetrically two separate embedding sequences of same dimension"
)


def run(lab):
    same = lab.part("attention.MultiHeadAttention", {"x": (7, 32), "memory": (7, 32)}, num_heads=4)
    variables = same.variables()
    x, other = (same.example(seed)["x"] for seed in (0, 1))
    alone = same.apply(variables, x=x)
    yield lab.below(
        "largest difference of cross-attention from self-attention, inputs equal",
        np.abs(same.apply(variables, x=x, memory=x) - alone).max(),
        1e-6,
    )
    yield lab.above(
        "largest difference of the two, inputs unequal",
        np.abs(same.apply(variables, x=x, memory=other) - alone).max(),
        1e-2,
    )

    apart = lab.part("attention.MultiHeadAttention", {"x": (7, 32), "memory": (11, 48)}, num_heads=4)
    try:
        mixed = apart.apply(apart.variables(), **apart.example())
    except (TypeError, ValueError):
        mixed = None
    runs = mixed is not None and mixed.shape == (1, 7, 32) and bool(np.isfinite(mixed).all())
    yield lab.holds("sequences of widths 32 and 48 are refused", not runs)
    yield lab.holds("sequences of widths 32 and 48 give an output of width 32", runs, "amended")
