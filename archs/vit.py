"""Vision Transformer (Dosovitskiy et al., 2020, https://arxiv.org/abs/2010.11929).

An image is cut into patches, each patch becomes a token by one linear map, and a standard pre-norm
Transformer encoder reads the tokens: almost nothing about images is built in, so they are learned from more
data. Variants are named as in the paper (Table 1; Ti and S are of Touvron et al., 2020): size / patch width
in pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from flax.core import FrozenDict
from jax import numpy as jnp
from jaxtyping import Array, Float

from archs.layers.activation import Activation
from archs.layers.fields import Dtype
from archs.layers.head import Head
from archs.layers.positions import Positions
from archs.layers.stack import Remat, Stack


class Model(nn.Module):
    """Patch embedding, positions, Transformer blocks, layer normalisation, pooling, and a linear head.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns the pooled token.
        patch_size: Width and height of a patch in pixels; must divide those of the image.
        hidden_size: D, the width of a token.
        num_layers: Blocks.
        num_heads: Attention heads; must divide `hidden_size`.
        mlp_size: Inner width of the blocks' perceptrons.
        patch_bias: Whether the linear map of the patches has a bias.
        pool: What the head reads: a learned class token put before the patches, or the mean over patches.
        positions: Learned, as in the paper; sinusoidal over the patches in row order; or none, which leaves a
            set.
        embedding_norm: Whether tokens are normalised before the first block, as in CLIP (Radford et al., 2021).
        initialization: Deviations at the start. With "vit" 0.02 of class token and positions, 1/√n of the map from the
            n values of a patch, and Glorot's in the blocks; with "clip", as in OpenAI's code, 1/√D of class token and
            positions, 1/√(2D) of queries, keys and values, and 1/√(3n) of all other maps from n values.
        norm: Layer normalisation before each branch, as in the paper, or after each sum.
        activation: Of the perceptrons.
        dropout_rate: Share dropped after the embedding, of each branch and of the perceptrons' inner units,
            in training.
        norm_epsilon: Added to the variance in layer normalisation.
        mixer: How attention mixes values; one of `archs.layers.mixers.names()`.
        mixer_kwargs: Fields of the mixer.
        scan_layers, remat: How the blocks are run; see `archs.layers.stack.Stack`.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "image"

    num_classes: int | None
    patch_size: int = 16
    hidden_size: int = 384
    num_layers: int = 12
    num_heads: int = 6
    mlp_size: int = 1536
    patch_bias: bool = True
    pool: Literal["token", "mean"] = "token"
    positions: Literal["learned", "sinusoidal", "none"] = "learned"
    embedding_norm: bool = False
    initialization: Literal["vit", "clip"] = "vit"
    norm: Literal["pre", "post"] = "pre"
    activation: Activation = "gelu"
    dropout_rate: float = 0.0
    norm_epsilon: float = 1e-6
    mixer: str = "dense"
    mixer_kwargs: Mapping[str, Any] = field(default_factory=FrozenDict)
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B outputs"]:
        """Raises ValueError if `patch_size` does not divide the image or `num_heads` the `hidden_size`."""
        batch, rows, columns, _ = image.shape
        patch = (self.patch_size, self.patch_size)
        if rows % self.patch_size or columns % self.patch_size:
            raise ValueError(
                f"vit: image is {rows}×{columns} pixels, which patch_size={self.patch_size} does not divide; "
                "choose a patch_size that divides both, or resize the image"
            )
        if self.hidden_size % self.num_heads:
            raise ValueError(f"vit: hidden_size={self.hidden_size} is not divisible by num_heads={self.num_heads}")
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        is_clip = self.initialization == "clip"
        init_std = self.hidden_size**-0.5 if is_clip else 0.02
        kernel_init: Any = nn.initializers.variance_scaling(1 / 3 if is_clip else 1, "fan_in", "truncated_normal")
        patches = {"strides": patch, "padding": "VALID", "use_bias": self.patch_bias, **dtypes}
        x = nn.Conv(self.hidden_size, patch, kernel_init=kernel_init, **patches, name="patches")(image)
        x = x.reshape(batch, -1, self.hidden_size)
        if self.pool == "token":
            token = self.param("token", nn.initializers.normal(init_std), (1, 1, self.hidden_size), self.param_dtype)
            token = jnp.broadcast_to(token.astype(x.dtype), (batch, 1, self.hidden_size))
            x = jnp.concatenate([token, x], axis=1)
        x = Positions(self.positions, max_length=x.shape[1], init_std=init_std, **dtypes, name="positions")(x)
        if self.embedding_norm:
            x = nn.LayerNorm(epsilon=self.norm_epsilon, **dtypes, name="embedding_norm")(x)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        block = {
            "num_heads": self.num_heads,
            "mlp_size": self.mlp_size,
            "norm": self.norm,
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
            "norm_epsilon": self.norm_epsilon,
            "mixer": self.mixer,
            "mixer_kwargs": self.mixer_kwargs,
            **dtypes,
        }
        if is_clip:
            width, inner = self.hidden_size, self.mlp_size
            block |= {"init_std": (2 * width) ** -0.5, "output_init_std": (3 * width) ** -0.5}
            block |= {"mlp_init_std": (3 * width) ** -0.5, "mlp_output_init_std": (3 * inner) ** -0.5}
        x = Stack(self.num_layers, FrozenDict(block), self.scan_layers, self.remat, name="blocks")(x, train=train)
        if self.norm == "pre":  # a post-norm block has normalised its output already
            x = nn.LayerNorm(epsilon=self.norm_epsilon, **dtypes, name="norm")(x)
        x = x[:, 0] if self.pool == "token" else x.mean(axis=1)
        return Head(self.num_classes, **dtypes, name="head")(x)


def resize_positions(params: Mapping[str, Any], rows: int, columns: int) -> dict[str, Any]:
    """Trained parameters for images of another size: positions are interpolated on the grid of patches (section 3.2).

    Bicubic, with low-pass filtering where the grid gets smaller. A class token keeps its position.

    Args:
        params: Parameters of a `Model` with learned positions, trained on square images.
        rows: Rows of patches in the new images.
        columns: Columns of patches in the new images.

    Raises:
        ValueError: There are no learned positions, or they are of no square grid.
    """
    if "positions" not in params:
        raise ValueError("vit: these parameters have no positions to resize; they need positions='learned'")
    embedding = params["positions"]["embedding"]
    tokens = 1 if "token" in params else 0
    patches, width = len(embedding) - tokens, embedding.shape[-1]
    side = math.isqrt(patches)
    if side**2 != patches:
        raise ValueError(f"vit: {patches} positions of patches are of no square grid; only those can be resized")
    grid = embedding[tokens:].reshape(side, side, width)
    resized = jax.image.resize(grid, (rows, columns, width), "bicubic").reshape(-1, width)
    return {**params, "positions": {"embedding": jnp.concatenate([embedding[:tokens], resized])}}


SIZES = {
    "Ti": {"hidden_size": 192, "num_layers": 12, "num_heads": 3, "mlp_size": 768},
    "S": {"hidden_size": 384, "num_layers": 12, "num_heads": 6, "mlp_size": 1536},
    "B": {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "mlp_size": 3072},
    "L": {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "mlp_size": 4096},
    "H": {"hidden_size": 1280, "num_layers": 32, "num_heads": 16, "mlp_size": 5120},
}
VARIANTS: dict[str, dict[str, Any]] = {
    f"{size}/{patch_size}": {"patch_size": patch_size, **SIZES[size]}
    for size, patch_size in [("Ti", 16), ("S", 16), ("B", 16), ("B", 32), ("L", 16), ("H", 14)]
}
EXAMPLE = {"image": jax.ShapeDtypeStruct((224, 224, 3), "float32")}
