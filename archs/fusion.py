"""Fusion of modalities: images, audio, texts, video and other sequences that speak of the same example.

Each modality becomes tokens, and attention does not care what a token was. With `cross_attention` (as the decoder of
Vaswani et al., 2017, https://arxiv.org/abs/1706.03762) tokens of one modality ask and those of the others answer; in a
`single_stream` (as in VisualBERT, Li et al., 2019, https://arxiv.org/abs/1908.03557) all tokens attend to all. The
baselines fuse what is already pooled: `concat` joins features before the head, and `late` averages logits.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal, get_args

import jax
from flax import linen as nn
from flax.core import FrozenDict
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from archs.layers.activation import Activation
from archs.layers.fields import Dtype, choose, refuse
from archs.layers.head import Head
from archs.layers.positions import Positions
from archs.layers.stack import Remat, Stack

Fusion = Literal["cross_attention", "single_stream", "concat", "late"]
MODALITIES = ("image", "audio", "tokens", "video", "sequence")
SIZES = {"patch_size": {"image", "video"}, "frame_size": {"audio"}, "vocab_size": {"tokens"}}  # and who needs them


class Tokenize(nn.Module):
    """Tokens of one modality: a linear map of each patch, frame or step, or an embedding of each word.

    Attributes:
        modality: One of `MODALITIES`.
        hidden_size: D, the width of a token.
        size: The model's `patch_size`, `frame_size` or `vocab_size`, as the modality needs it.
        frames: Of video that a patch spans.
        positions: What is added for the place of a token.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    modality: str
    hidden_size: int
    size: int
    frames: int
    positions: Literal["learned", "sinusoidal", "none"]
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self, steps: Shaped[Array, "B S *step"], mask: Bool[Array, "B S"]
    ) -> tuple[Float[Array, "B T D"], Bool[Array, "B T"]]:
        """Returns the tokens of all steps, and which are real; an image is a video of one step."""
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        batch = len(steps)
        # What stands at other steps, NaN included, must not reach a gradient.
        steps = jnp.where(mask.reshape(mask.shape + (1,) * (steps.ndim - 2)), steps, 0)
        if self.modality in ("image", "video"):
            patch = (self.size, self.size)
            mask = mask.reshape(batch, -1, self.frames).any(axis=2)
            *_, rows, columns, colours = steps.shape
            tubes = jnp.moveaxis(steps.reshape(-1, self.frames, rows, columns, colours), 1, 3)
            tubes = tubes.reshape(-1, rows, columns, self.frames * colours)
            x = nn.Conv(self.hidden_size, patch, strides=patch, padding="VALID", **dtypes, name="patches")(tubes)
            x = x.reshape(batch, -1, self.hidden_size)
            mask = jnp.repeat(mask, x.shape[1] // mask.shape[1], axis=1)
        elif self.modality == "tokens":
            init = nn.initializers.normal(0.02)
            x = nn.Embed(self.size, self.hidden_size, embedding_init=init, **dtypes, name="words")(steps)
        else:
            frames = steps.reshape(batch, steps.shape[1] // self.size, -1)
            x = nn.Dense(self.hidden_size, **dtypes, name="frames")(frames)
            mask = mask.reshape(batch, -1, self.size).any(axis=2)
        return Positions(self.positions, max_length=x.shape[1], **dtypes, name="positions")(x), mask


class Encoder(nn.Module):
    """A Transformer over a class token and tokens, so that there is something to read where no token is real.

    Attributes:
        num_layers: Blocks.
        block: Fields of `archs.layers.block.Block`.
        scan_layers, remat: How the blocks are run.
    """

    num_layers: int
    block: Mapping[str, Any]
    scan_layers: bool
    remat: Remat

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "B T"],
        memory: Float[Array, "B S _"] | None = None,
        memory_mask: Bool[Array, "B S"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "B T+1 D"], Bool[Array, "B T+1"]]:
        """Returns all tokens, the class token first, and which are real."""
        dtypes: dict[str, Any] = {name: self.block[name] for name in ("dtype", "param_dtype")}
        batch, _, width = x.shape
        token = self.param("token", nn.initializers.normal(0.02), (1, 1, width), dtypes["param_dtype"])
        x = jnp.concatenate([jnp.broadcast_to(token.astype(x.dtype), (batch, 1, width)), x], axis=1)
        x = nn.Dropout(self.block["dropout_rate"], deterministic=not train)(x)
        mask = jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True)
        block: FrozenDict[str, Any] = FrozenDict({**self.block, "cross": memory is not None})
        stack = Stack(self.num_layers, block, self.scan_layers, self.remat, name="blocks")
        x = stack(x, memory, mask=mask, memory_mask=memory_mask, train=train)
        return nn.LayerNorm(epsilon=self.block["norm_epsilon"], **dtypes, name="norm")(x), mask


class Model(nn.Module):
    """Tokens of each modality, Transformers that fuse them, and a linear head on what a class token has gathered.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns what the head would read; with "late", the
            mean of the modalities' features, which must then be of one width.
        modalities: Which of "image", "audio", "tokens", "video" and "sequence" there are.
        fusion: Where modalities meet. "cross_attention": the first modality and a class token attend to themselves and
            to what encoders, one each, made of the others. "single_stream": in one Transformer over all tokens, each
            with an embedding of its modality. "concat": one encoder each, their class tokens joined before the head.
            "late": one encoder and head each, and the mean over the logits of those that are there.
        hidden_sizes: D of each modality, or one for all. With "single_stream" all are equal, with "cross_attention" all
            but the first.
        num_layers: Blocks of each Transformer.
        num_heads: Attention heads; must divide all `hidden_sizes`.
        mlp_size: Inner width of the blocks' perceptrons.
        patch_size: Width and height of the patches of images and of video frames; with these modalities only.
        tubelet_size: Frames of video that a patch spans (Arnab et al., 2021, section 3.2); with video only.
        frame_size: Steps of audio, samples or rows of a spectrogram, that make a token; with audio only.
        vocab_size: Of texts; with tokens only.
        positions: Learned, for inputs as long as those of initialisation; sinusoidal, for any length; or none, which
            leaves a set. Each modality has its own.
        activation: Of the perceptrons.
        dropout_rate: Share dropped after the embedding, of each branch and of the perceptrons' inner units, in
            training.
        norm_epsilon: Added to the variance in layer normalisation.
        mixer, mixer_kwargs: How self-attention mixes values; see `archs.layers.mixers`. In a single stream, a modality
            that is left out is as one that is masked only to those that know no places: dense, performer and ring.
        scan_layers, remat: How blocks are run; see `archs.layers.stack.Stack`.
        dtype: Type of the computation; outputs are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "image"

    num_classes: int | None
    modalities: tuple[str, ...]
    fusion: Fusion = "cross_attention"
    hidden_sizes: tuple[int, ...] = (64,)
    num_layers: int = 2
    num_heads: int = 4
    mlp_size: int = 256
    patch_size: int | None = None
    tubelet_size: int = 1
    frame_size: int | None = None
    vocab_size: int | None = None
    positions: Literal["learned", "sinusoidal", "none"] = "learned"
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
    def __call__(
        self,
        image: Float[Array, "B X Y C"] | None = None,
        audio: Float[Array, "B samples"] | Float[Array, "B rows F"] | None = None,
        tokens: Int[Array, "B T"] | None = None,
        video: Float[Array, "B frames height width colours"] | None = None,
        sequence: Float[Array, "B S D"] | None = None,
        image_mask: Bool[Array, " B"] | None = None,
        audio_mask: Bool[Array, "B ..."] | None = None,
        tokens_mask: Bool[Array, "B ..."] | None = None,
        video_mask: Bool[Array, "B ..."] | None = None,
        sequence_mask: Bool[Array, "B ..."] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B outputs"]:
        """Reads the modalities of each example that are there.

        A mask [B] says which examples have the modality, a mask [B, steps] which of its steps are real: samples or rows
        of audio, words, frames of video, steps of a sequence. What is masked changes nothing, whatever stands there. A
        modality that is None is missing in all examples; but initialisation, which sizes parameters, needs all.

        Args:
            image: Images.
            audio: Waveforms, or rows of spectrograms.
            tokens: Texts.
            video: Frames, each an image.
            sequence: Any other sequence.
            image_mask, audio_mask, tokens_mask, video_mask, sequence_mask: As above; None is all there.
            train: Whether in training.

        Raises:
            ValueError: Fields contradict each other or the inputs, a needed one is missing, or one would do nothing.
        """
        inputs = {"image": image, "audio": audio, "tokens": tokens, "video": video, "sequence": sequence}
        masks = {
            "image": image_mask,
            "audio": audio_mask,
            "tokens": tokens_mask,
            "video": video_mask,
            "sequence": sequence_mask,
        }
        given = {name: value for name, value in inputs.items() if value is not None}
        self.check_fields()
        self.check_inputs(given, {name: mask for name, mask in masks.items() if mask is not None})
        batch = len(next(iter(given.values())))
        streams = {name: self.tokenize(name, given.get(name), masks[name], batch) for name in self.modalities}
        return getattr(self, self.fusion)(streams, train)

    def tokenize(
        self, name: str, value: Shaped[Array, "B *shape"] | None, mask: Bool[Array, "B ..."] | None, batch: int
    ) -> tuple[Float[Array, "B T D"], Bool[Array, "B T"]]:
        """Tokens of a modality and which are real; none at all if it is missing."""
        width = self.widths()[name]
        if value is None:
            return jnp.zeros((batch, 0, width), self.dtype), jnp.zeros((batch, 0), bool)
        steps = value[:, None] if name == "image" else value
        mask = jnp.ones(steps.shape[:2], bool) if mask is None else mask
        mask = jnp.broadcast_to(mask[:, None], steps.shape[:2]) if mask.ndim == 1 else mask
        size = next((getattr(self, size) for size, needed_by in SIZES.items() if name in needed_by), 1)
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        frames = self.tubelet_size if name == "video" else 1
        return Tokenize(name, width, size, frames, self.positions, **dtypes, name=f"tokenize_{name}")(steps, mask)

    def encoder(self, name: str) -> Encoder:
        block = {
            "num_heads": self.num_heads,
            "mlp_size": self.mlp_size,
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
            "norm_epsilon": self.norm_epsilon,
            "mixer": self.mixer,
            "mixer_kwargs": self.mixer_kwargs,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        return Encoder(self.num_layers, FrozenDict(block), self.scan_layers, self.remat, name=f"encode_{name}")

    def head(self, name: str = "head") -> Head:
        return Head(self.num_classes, dtype=self.dtype, param_dtype=self.param_dtype, name=name)

    def cross_attention(self, streams: Mapping[str, Any], train: bool) -> Float[Array, "B outputs"]:
        """Cross-attention from the first modality to the others."""
        first, *others = self.modalities
        encoded = [self.encoder(name)(*streams[name], train=train) for name in others]
        memory, memory_mask = (jnp.concatenate(parts, axis=1) for parts in zip(*encoded, strict=True))
        x, mask = streams[first]
        x, _ = self.encoder(first)(x, mask, memory, memory_mask, train=train)
        return self.head()(x[:, 0])

    def single_stream(self, streams: Mapping[str, Any], train: bool) -> Float[Array, "B outputs"]:
        """One Transformer over the tokens of all modalities."""
        width = self.widths()[self.modalities[0]]
        init = nn.initializers.normal(0.02)
        kinds = self.param("modality_embedding", init, (len(self.modalities), width), self.param_dtype)
        marked = [
            (x + kinds[None, number : number + 1].astype(x.dtype), mask)
            for number, (x, mask) in enumerate(streams.values())
        ]
        x, mask = (jnp.concatenate(parts, axis=1) for parts in zip(*marked, strict=True))
        x, _ = self.encoder("all")(x, mask, train=train)
        return self.head()(x[:, 0])

    def concat(self, streams: Mapping[str, Any], train: bool) -> Float[Array, "B outputs"]:
        """One head on the class tokens of all modalities."""
        features = [self.encoder(name)(*stream, train=train)[0][:, 0] for name, stream in streams.items()]
        return self.head()(jnp.concatenate(features, axis=-1))

    def late(self, streams: Mapping[str, Any], train: bool) -> Float[Array, "B outputs"]:
        """The mean over the logits of the modalities that an example has."""
        logits, is_there = [], []
        for name, (x, mask) in streams.items():
            encoded, _ = self.encoder(name)(x, mask, train=train)
            logits.append(self.head(f"head_{name}")(encoded[:, 0]))
            is_there.append(mask.any(axis=1, keepdims=True))
        total = jnp.where(jnp.stack(is_there), jnp.stack(logits), 0).sum(axis=0)
        return total / jnp.maximum(jnp.stack(is_there).sum(axis=0), 1)

    def widths(self) -> dict[str, int]:
        """D of each modality."""
        sizes = self.hidden_sizes * len(self.modalities) if len(self.hidden_sizes) == 1 else self.hidden_sizes
        return dict(zip(self.modalities, sizes, strict=True))

    def check_fields(self) -> None:
        """Raises ValueError if fields contradict each other, one of them is missing, or one would do nothing."""
        for name in self.modalities:
            choose("fusion: modality", name, MODALITIES)
        first = 1 if self.fusion == "cross_attention" else 0
        joins = self.fusion in ("single_stream", "cross_attention") or (self.fusion, self.num_classes) == ("late", None)
        problems = {
            f"modalities is {self.modalities}; fusion={self.fusion!r} needs at least {first + 1}, each once": (
                not first < len(self.modalities) == len(set(self.modalities))
            ),
            f"hidden_sizes has {len(self.hidden_sizes)} entries for {len(self.modalities)} modalities; give one for "
            "all, or one each": len(self.hidden_sizes) not in (1, len(self.modalities)),
            f"num_heads={self.num_heads} does not divide all of hidden_sizes={self.hidden_sizes}": any(
                size % self.num_heads for size in self.hidden_sizes
            ),
            f"fusion={self.fusion!r} needs one width for all modalities{' but the first' * first}, and hidden_sizes is "
            f"{self.hidden_sizes}": joins and len(set(self.hidden_sizes[first:])) > 1,
        }
        alone = self.tubelet_size > 1 and "video" not in self.modalities
        problems[f"tubelet_size={self.tubelet_size} goes with the modality video only; leave it out"] = alone
        for size, needed_by in SIZES.items():
            is_given, users = getattr(self, size) is not None, " or ".join(sorted(needed_by))
            is_needed = bool(needed_by & set(self.modalities))
            problems[f"{size} is missing; the modality {users} needs it"] = is_needed and not is_given
            problems[f"{size} goes with the modality {users} only; leave it out"] = is_given and not is_needed
        refuse("fusion", problems)

    def check_inputs(self, given: Mapping[str, Array], masks: Mapping[str, Array]) -> None:
        """Raises ValueError if the inputs are not what the fields say, or do not divide into tokens."""
        extra = [name for name in given if name not in self.modalities]
        lonely = [name for name in masks if name not in given]
        missing = [name for name in self.modalities if name not in given]
        problems = {
            f"{', '.join(extra)} is given, and modalities is {self.modalities}; add it, or leave it out of the batch": (
                bool(extra)
            ),
            f"{', '.join(lonely)} has a mask and no values; give both or neither": bool(lonely),
            f"{', '.join(missing)} is missing; initialise with all modalities": (
                bool(missing) and self.is_initializing()
            ),
            "no modality is given": not given,
        }
        for name in [name for name in masks if name in given]:
            shape, mask_shape = given[name].shape, masks[name].shape
            allowed = [shape[:1]] if name == "image" else [shape[:1], shape[:2]]
            named = " or ".join(map(str, allowed))
            problems[f"{name}_mask is {mask_shape}; allowed: {named}"] = mask_shape not in allowed
        cuts = [("image", -3, -1, "patch_size"), ("video", -3, -1, "patch_size")]
        cuts += [("video", 1, 2, "tubelet_size"), ("audio", 1, 2, "frame_size")]
        for name, start, stop, size in cuts:
            if name not in given or name not in self.modalities:
                continue
            lengths, divisor = given[name].shape[start:stop], getattr(self, size)
            whole = "×".join(map(str, lengths))
            problems[f"{name} is {whole}, which {size}={divisor} does not divide; cut or pad it"] = any(
                length % divisor for length in lengths
            )
        refuse("fusion", problems)


PAIR = {"modalities": ("image", "audio"), "patch_size": 7, "frame_size": 100}
VARIANTS: dict[str, dict[str, Any]] = {fusion: {"fusion": fusion, **PAIR} for fusion in get_args(Fusion)}
# A digit as MNIST draws it, and half a second of a voice that speaks it, at 8 kHz.
EXAMPLE = {"image": jax.ShapeDtypeStruct((28, 28, 1), "float32"), "audio": jax.ShapeDtypeStruct((4000,), "float32")}
