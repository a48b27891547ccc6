"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf,
section II-B).

Convolutions share one small set of weights over all places of the image; subsampling makes the response
tolerate small shifts; two rounds of both turn strokes into parts of digits, which fully connected layers then
read. `modern` (61,706 parameters on 28×28×1) is the usual retelling. `1998` is the paper's: maps of C3 see a
chosen few maps of S2 (Table I), subsampling is trained, and each output is the distance to a fixed drawing of
its digit: 60,000 trained parameters.
"""

from typing import Any, ClassVar, Literal

import jax
import numpy as np
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from archs.layers.activation import ACTIVATIONS, Activation
from archs.layers.fields import Dtype
from archs.layers.head import Head

# Table I: the maps of S2 that each of the 16 maps of C3 reads.
CONNECTIONS = (
    *[tuple((first + k) % 6 for k in range(3)) for first in range(6)],
    *[tuple((first + k) % 6 for k in range(4)) for first in range(6)],
    *[(0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)],
)

# The code of a digit is a 7×12 drawing of it (Fig. 3), ink +1 and paper -1; these are drawn after the figure.
DIGITS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...#... ..###.. ..###.. .....#. .#####. ..###.. .#####. ..###.. ..###..
.#...#. ..##... .#...#. .#...#. ....##. .#..... .#...#. .....#. .#...#. .#...#.
.#...#. .#.#... .....#. .....#. ...#.#. .#..... .#..... .....#. .#...#. .#...#.
.#...#. ...#... .....#. .....#. ..#..#. .####.. .#..... ....#.. .#...#. .#...#.
.#...#. ...#... ....#.. ...##.. .#...#. .....#. .####.. ....#.. ..###.. ..####.
.#...#. ...#... ...#... .....#. .###### .....#. .#...#. ...#... .#...#. .....#.
.#...#. ...#... ..#.... .....#. .....#. .....#. .#...#. ...#... .#...#. .....#.
.#...#. ...#... .#..... .#...#. .....#. .#...#. .#...#. ..#.... .#...#. .#...#.
..###.. .#####. .#####. ..###.. .....#. ..###.. ..###.. ..#.... ..###.. ..###..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


def digit_codes() -> Float[np.ndarray, "10 84"]:
    """One code of 84 values, +1 or -1, for each digit."""
    rows = [[list(glyph) for glyph in line.split()] for line in DIGITS.split("\n") if line]
    ink = np.array(rows) == "#"  # [row, digit, column]
    return np.where(ink, 1.0, -1.0).transpose(1, 0, 2).reshape(10, 84)


class SparseConv(nn.Module):
    """Layer C3: a valid 5×5 convolution from 6 to 16 maps with only the connections of Table I."""

    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B X Y 6"]) -> Float[Array, "B X-4 Y-4 16"]:
        pairs = [(source, target) for target, sources in enumerate(CONNECTIONS) for source in sources]
        sources, targets = np.array(pairs).T

        def init(key: Array) -> Float[Array, "5 5 60"]:
            dense = nn.initializers.lecun_normal()(key, (5, 5, 6, 16), jnp.dtype(self.param_dtype))
            return dense[:, :, sources, targets]

        weights = self.param("kernel", init)
        bias = self.param("bias", nn.initializers.zeros, (16,), self.param_dtype)
        kernel = jnp.zeros((5, 5, 6, 16), self.dtype).at[:, :, sources, targets].set(weights.astype(self.dtype))
        maps = lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return maps + bias.astype(self.dtype).reshape(1, 1, 1, 16)


class TrainedSubsampling(nn.Module):
    """Layers S2 and S4: the sum over 2×2 pixels, times one coefficient and plus one bias per map."""

    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B X Y C"]) -> Float[Array, "B X//2 Y//2 C"]:
        channels = x.shape[-1]
        quarter = nn.initializers.constant(0.25)  # starts as the average
        coefficient = self.param("coefficient", quarter, (1, 1, 1, channels), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (1, 1, 1, channels), self.param_dtype)
        total = 4 * nn.avg_pool(x, (2, 2), strides=(2, 2))
        return coefficient.astype(self.dtype) * total + bias.astype(self.dtype)


class Model(nn.Module):
    """Two convolutions with subsampling, then layers of 120 and 84 units, then the output.

    With `output="rbf"` the logit of a class is minus the squared distance between the 84 units and the code
    of that class, so softmax cross-entropy is the paper's criterion (eq. 9) without its constant for rubbish
    classes.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns the 84 units.
        connectivity: Whether C3 reads all maps of S2, or those of Table I.
        pooling: Over 2×2 pixels: the maximum, the average, or the paper's trained subsampling, which is
            squashed too.
        activation: Nonlinearity of all layers before the output.
        output: A linear layer, or the paper's fixed radial basis functions, which exist for the 10 digits
            only.
        padding: Of the first convolution: "same" reads 28×28 as the paper reads the same image framed to
            32×32, "valid" reads 32×32.
        dropout_rate: Share of the 120 and of the 84 units dropped in training.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "image"

    num_classes: int | None
    connectivity: Literal["full", "sparse"] = "full"
    pooling: Literal["max", "average", "trained"] = "max"
    activation: Activation = "relu"
    output: Literal["linear", "rbf"] = "linear"
    padding: Literal["same", "valid"] = "same"
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B outputs"]:
        """Raises ValueError if the image is too small, or if `output` has no codes for the classes."""
        needed = 12 if self.padding == "same" else 16
        if min(image.shape[1:3]) < needed:
            raise ValueError(
                f"lenet: image is {image.shape[1]}×{image.shape[2]} pixels; padding={self.padding!r} needs "
                f"at least {needed}×{needed}: resize it, LeNet-5 was made for 28×28"
            )
        if self.output == "rbf" and self.num_classes not in (10, None):
            raise ValueError(
                f"lenet: num_classes is {self.num_classes}, and output='rbf' has codes for 10, the digits, "
                "only; use output='linear'"
            )
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        activation = ACTIVATIONS[self.activation]
        sparse = self.connectivity == "sparse"

        x = activation(nn.Conv(6, (5, 5), padding=self.padding.upper(), **dtypes, name="c1")(image))
        x = self.subsample(x, "s2")
        c3 = SparseConv(**dtypes, name="c3") if sparse else nn.Conv(16, (5, 5), padding="VALID", **dtypes, name="c3")
        x = activation(c3(x))
        x = self.subsample(x, "s4")
        x = x.reshape(x.shape[0], -1)
        x = activation(nn.Dense(120, **dtypes, name="c5")(x))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        x = activation(nn.Dense(84, **dtypes, name="f6")(x))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        if self.output == "linear" or self.num_classes is None:
            return Head(self.num_classes, **dtypes, name="head")(x)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return -jnp.square(x[:, None] - digit_codes().astype(x.dtype)[None]).sum(-1)

    def subsample(self, x: Float[Array, "B X Y C"], name: str) -> Float[Array, "B X//2 Y//2 C"]:
        if self.pooling == "trained":
            trained = TrainedSubsampling(dtype=self.dtype, param_dtype=self.param_dtype, name=name)
            return ACTIVATIONS[self.activation](trained(x))
        pool = nn.max_pool if self.pooling == "max" else nn.avg_pool
        return pool(x, (2, 2), strides=(2, 2))


VARIANTS: dict[str, dict[str, Any]] = {
    "modern": {},
    "1998": {"connectivity": "sparse", "pooling": "trained", "activation": "scaled_tanh", "output": "rbf"},
}
EXAMPLE = {"image": jax.ShapeDtypeStruct((28, 28, 1), "float32")}
