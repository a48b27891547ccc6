"""CLIP (Radford et al., 2021, https://arxiv.org/abs/2103.00020).

One tower embeds images, another embeds texts, both as unit vectors of one space, and they learn to find which image
belongs to which text of a batch. No classes are built in: a text that names a class is its classifier, so any set of
classes can be told apart without an example of them. Variants are the published ones, after their image tower: a Vision
Transformer, or a ResNet-50 with three changes (section 2.4): a stem of three convolutions, averaging in place of
strides, and attention in place of the mean over all places.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal

import jax
from flax import linen as nn
from flax.core import FrozenDict
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs import resnet, vit
from archs.layers.fields import Dtype, refuse
from archs.layers.mixers import dense
from archs.layers.positions import Positions
from archs.layers.stack import Remat, Stack

EPSILON = 1e-5  # of layer normalisation
LARGEST_SCALE = 100.0  # of logits (section 2.5)


@jax.custom_vjp
def limit(log_scale: Float[Array, ""]) -> Float[Array, ""]:
    """At most the logarithm of the largest scale; at this limit, only gradients that lead below it pass.

    So descent finds its way back from there, as when the parameter itself is clipped after each step; with the gradient
    of a minimum it would stay.
    """
    return jnp.minimum(log_scale, math.log(LARGEST_SCALE))


def _limit_forward(log_scale: Float[Array, ""]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    return limit(log_scale), log_scale >= math.log(LARGEST_SCALE)


def _limit_backward(at_limit: Bool[Array, ""], gradient: Float[Array, ""]) -> tuple[Float[Array, ""]]:
    return (jnp.where(at_limit & (gradient < 0), 0, gradient),)


limit.defvjp(_limit_forward, _limit_backward)


def normalize(x: Float[Array, "*batch E"]) -> Float[Array, "*batch E"]:
    """Vectors of length 1, in at least float32."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def zero_shot_classifier(embeddings: Float[Array, "classes templates E"]) -> Float[Array, "classes E"]:
    """One embedding for each class: the mean over its prompts, such as "a photo of a {class}" (section 3.1.4).

    Args:
        embeddings: Of the texts that templates make of the names of classes, by `Model.encode_text`.

    Returns:
        Embeddings of length 1; `Model.logits` of images and these are the logits of the classes.
    """
    return normalize(normalize(embeddings).mean(axis=1))


class AttentionPool(nn.Module):
    """The mean of all places asks, and all places and the mean itself answer (section 2.4).

    Attributes:
        num_heads: H.
        features: Width of the output.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    num_heads: int
    features: int
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B X Y D"]) -> Float[Array, "B features"]:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        batch, _, _, width = x.shape
        places = x.reshape(batch, -1, width)
        places = jnp.concatenate([places.mean(axis=1, keepdims=True), places], axis=1)
        places = Positions("learned", places.shape[1], init_std=width**-0.5, **dtypes, name="positions")(places)
        options: dict[str, Any] = {"kernel_init": nn.initializers.normal(width**-0.5), **dtypes}
        project = functools.partial(nn.DenseGeneral, (self.num_heads, width // self.num_heads), **options)
        q = project(name="query")(places[:, :1])
        k, v = (project(name=name)(places) for name in ("key", "value"))
        mixed = dense.Mixer(**dtypes, name="mixer")(q, k, v)
        return nn.DenseGeneral(self.features, axis=(-2, -1), **options, name="output")(mixed)[:, 0]


class ModifiedResNet(nn.Module):
    """ResNet of bottlenecks that averages where others skip places, and pools by attention.

    Attributes:
        features: Width of the output.
        stage_sizes: Blocks of each stage.
        hidden_size: Channels of the first stage; each stage has twice as many as the one before.
        head_size: Width of a head of the attention pool.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    features: int
    stage_sizes: tuple[int, ...]
    hidden_size: int
    head_size: int
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B features"]:
        """Raises ValueError if the image is too small."""
        needed = 2 ** (len(self.stage_sizes) + 1) - 1
        if min(image.shape[1:3]) < needed:
            raise ValueError(
                f"clip: image is {image.shape[1]}×{image.shape[2]} pixels; {len(self.stage_sizes)} stages need at "
                f"least {needed}×{needed}: resize it, or choose fewer stages"
            )
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = image
        for layer, (divisor, strides) in enumerate([(2, 2), (2, 1), (1, 1)]):
            convolution = resnet.Convolution(
                self.hidden_size // divisor, (3, 3), strides=strides, **dtypes, name=f"stem_{layer}"
            )
            x = convolution(x, train=train)
        x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        for stage, blocks in enumerate(self.stage_sizes):
            for block in range(blocks):
                x = resnet.Block(
                    kind="bottleneck",
                    hidden_size=self.hidden_size * 2**stage,
                    strides=2 if stage and not block else 1,
                    padding="zero",
                    zero_init_residual=True,
                    downsampling="average",
                    **dtypes,
                    name=f"stage_{stage}_block_{block}",
                )(x, train=train)
        return AttentionPool(x.shape[-1] // self.head_size, self.features, **dtypes, name="attention")(x)


class Model(nn.Module):
    """A tower for images and one for texts; each pair of an image and a text gets a logit.

    The text tower is a causal Transformer, read at the end token. Inner widths of perceptrons are 4 times the tower's.
    Kernels and embeddings start with the deviations of OpenAI's code (clip/model.py of openai/CLIP), but for those of
    convolutions before batch normalisation; all biases start at zero.

    Attributes:
        vocab_size: Tokens of the vocabulary.
        max_length: Tokens of the longest text.
        end_token: The token whose first occurrence gives a text's features; a text without it gives NaN. None reads the
            highest token of each text instead, as in OpenAI's release, where the end token is the vocabulary's last.
        embedding_size: E, the width of the common space.
        image_tower: A Vision Transformer, or CLIP's ResNet.
        image_hidden_size: Width of the Vision Transformer, or channels of the first stage of the ResNet.
        patch_size: Of the Vision Transformer only; None is 32.
        num_image_layers: Blocks of the Vision Transformer only; None is 12.
        stage_sizes: Blocks of each stage of the ResNet only; None is (3, 4, 6, 3).
        text_hidden_size: Width of the text tower.
        num_text_layers: Blocks of the text tower.
        head_size: Width of every attention head; must divide the widths of the towers.
        dropout_rate: Share dropped after the embedding, of each branch and of the perceptrons' inner units of the
            Transformers, in training; the paper drops nothing.
        mixer, mixer_kwargs: How the Transformers' attention mixes values; see `archs.layers.mixers`.
        text_mixer, text_mixer_kwargs: Likewise that of texts, which is causal; None is as that of images.
        scan_layers, remat: How the Transformers' blocks are run; see `archs.layers.stack.Stack`.
        dtype: Type of the computation; embeddings and logits are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "image"

    vocab_size: int = 49_408
    max_length: int = 77
    end_token: int | None = None
    embedding_size: int = 512
    image_tower: Literal["vit", "resnet"] = "vit"
    image_hidden_size: int = 768
    patch_size: int | None = None
    num_image_layers: int | None = None
    stage_sizes: tuple[int, ...] | None = None
    text_hidden_size: int = 512
    num_text_layers: int = 12
    head_size: int = 64
    dropout_rate: float = 0.0
    mixer: str = "dense"
    mixer_kwargs: Mapping[str, Any] = field(default_factory=FrozenDict)
    text_mixer: str | None = None
    text_mixer_kwargs: Mapping[str, Any] = field(default_factory=FrozenDict)
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    def setup(self) -> None:
        self.check()
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        block: dict[str, Any] = {
            "activation": "quick_gelu",
            "dropout_rate": self.dropout_rate,
            "norm_epsilon": EPSILON,
            "mixer": self.mixer,
            "mixer_kwargs": self.mixer_kwargs,
            **dtypes,
        }

        def project(width: int) -> nn.Dense:
            init = nn.initializers.normal(width**-0.5)
            return nn.Dense(self.embedding_size, use_bias=False, kernel_init=init, **dtypes)

        if self.image_tower == "resnet":
            self.image: Any = ModifiedResNet(
                features=self.embedding_size,
                stage_sizes=self.stage_sizes or (3, 4, 6, 3),
                hidden_size=self.image_hidden_size,
                head_size=self.head_size,
                **dtypes,
            )
        else:
            self.image = vit.Model(
                num_classes=None,
                patch_size=self.patch_size or 32,
                hidden_size=self.image_hidden_size,
                num_layers=self.num_image_layers or 12,
                num_heads=self.image_hidden_size // self.head_size,
                mlp_size=4 * self.image_hidden_size,
                patch_bias=False,
                embedding_norm=True,
                initialization="clip",
                scan_layers=self.scan_layers,
                remat=self.remat,
                **block,
            )
            self.image_projection = project(self.image_hidden_size)
        width, layers = self.text_hidden_size, self.num_text_layers
        text: dict[str, Any] = {
            **block,
            "num_heads": width // self.head_size,
            "mlp_size": 4 * width,
            "init_std": width**-0.5,
            "mlp_init_std": (2 * width) ** -0.5,
            "output_init_std": (2 * layers * width) ** -0.5,
        }
        if self.text_mixer is not None:
            text |= {"mixer": self.text_mixer, "mixer_kwargs": self.text_mixer_kwargs}
        init = nn.initializers.normal(0.02)
        self.text_embedding = nn.Embed(self.vocab_size, width, embedding_init=init, **dtypes)
        self.text_positions = Positions("learned", self.max_length, init_std=0.01, **dtypes)
        self.text_blocks = Stack(layers, FrozenDict(text), self.scan_layers, self.remat)
        self.text_norm = nn.LayerNorm(epsilon=EPSILON, **dtypes)
        self.text_projection = project(width)
        self.dropout = nn.Dropout(self.dropout_rate)
        temperature = nn.initializers.constant(math.log(1 / 0.07))
        self.log_scale = self.param("log_scale", temperature, (), self.param_dtype)

    def check(self) -> None:
        """Raises ValueError if fields contradict each other, or one of them would do nothing."""
        is_resnet = self.image_tower == "resnet"
        image_width = self.image_hidden_size * (4 * 2 ** (len(self.stage_sizes or range(4)) - 1) if is_resnet else 1)
        widths = {"image tower": image_width, "text tower": self.text_hidden_size}
        problems = {
            "patch_size and num_image_layers go with image_tower='vit' only; leave them out": (
                is_resnet and (self.patch_size, self.num_image_layers) != (None, None)
            ),
            "stage_sizes goes with image_tower='resnet' only; leave it out": (
                not is_resnet and self.stage_sizes is not None
            ),
            "text_mixer_kwargs goes with text_mixer; name it too": (
                self.text_mixer is None and bool(self.text_mixer_kwargs)
            ),
            "stage_sizes is empty; give the blocks of each stage": self.stage_sizes == (),
            f"end_token is {self.end_token}; allowed: from 0 to {self.vocab_size - 1}, or None": (
                self.end_token is not None and not 0 <= self.end_token < self.vocab_size
            ),
            **{
                f"the {tower} is {width} wide, which head_size={self.head_size} does not divide": (
                    width % self.head_size != 0
                )
                for tower, width in widths.items()
            },
        }
        refuse("clip", problems)

    def __call__(
        self,
        image: Float[Array, "B X Y C"],
        tokens: Int[Array, "B T"],
        mask: Bool[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B B"]:
        """Logits of each image, by row, with each text of the batch; the i-th text belongs to the i-th image.

        Args:
            image: Images.
            tokens: Texts, with an end token each.
            mask: True at the real tokens; without it, what follows the end token changes nothing either.
            train: Whether in training.

        Raises:
            ValueError: Fields contradict each other or the sizes of the inputs.
        """
        return self.logits(self.encode_image(image, train=train), self.encode_text(tokens, mask, train=train))

    def logits(self, image: Float[Array, "images E"], text: Float[Array, "texts E"]) -> Float[Array, "images texts"]:
        """Cosines of embeddings, divided by the learned temperature."""
        scale = jnp.exp(limit(self.log_scale.astype(image.dtype)))
        return scale * image @ text.T

    def encode_image(self, image: Float[Array, "B X Y C"], *, train: bool = False) -> Float[Array, "B E"]:
        """Embeddings of length 1."""
        features = self.image(image, train=train)
        return normalize(features if self.image_tower == "resnet" else self.image_projection(features))

    def encode_text(
        self, tokens: Int[Array, "B T"], mask: Bool[Array, "B T"] | None = None, *, train: bool = False
    ) -> Float[Array, "B E"]:
        """Embeddings of length 1."""
        real = jnp.ones(tokens.shape, bool) if mask is None else mask
        tokens = jnp.where(real, tokens, 0)
        x = self.text_positions(self.text_embedding(tokens))
        x = self.dropout(x, deterministic=not train)
        x = self.text_blocks(x, mask=mask, causal=True, train=train)
        ends = jnp.where(real, tokens if self.end_token is None else tokens == self.end_token, -1)
        x = jnp.take_along_axis(x, jnp.argmax(ends, axis=1)[:, None, None], axis=1)[:, 0]
        if self.end_token is not None:
            x = jnp.where(ends.max(axis=1, keepdims=True) == 1, x, jnp.nan)
        return normalize(self.text_projection(self.text_norm(x)))


LARGE = {"image_hidden_size": 1024, "num_image_layers": 24, "text_hidden_size": 768, "embedding_size": 768}
VARIANTS: dict[str, dict[str, Any]] = {
    "RN50": {"image_tower": "resnet", "image_hidden_size": 64, "stage_sizes": (3, 4, 6, 3), "embedding_size": 1024},
    "ViT-B/32": {"patch_size": 32},
    "ViT-B/16": {"patch_size": 16},
    "ViT-L/14": {"patch_size": 14, **LARGE},
}
EXAMPLE = {
    "image": jax.ShapeDtypeStruct((224, 224, 3), "float32"),
    "tokens": jax.ShapeDtypeStruct((77,), "int32"),
}
