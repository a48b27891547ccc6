"""Multi-head attention (Vaswani et al., 2017, section 3.2.2): self or cross, in one go or token by token."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from flax import linen as nn
from flax.core import FrozenDict
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs.layers import mixers
from archs.layers.fields import Dtype

Key = Float[Array, "B S H K"]
Value = Float[Array, "B S H V"]
Mask = Bool[Array, "B S"]


def kernel_init(std: float | None) -> nn.initializers.Initializer:
    """Normal with this deviation; None is Glorot's uniform one, as in the code of Vaswani et al. (2017)."""
    return nn.initializers.xavier_uniform() if std is None else nn.initializers.normal(std)


class MultiHeadAttention(nn.Module):
    """Projects to H heads, mixes values over positions in each, and projects back.

    Kernels of query and key are [D, H, K], that of value [D, H, V], and that of the output [H, V, D].

    With `decode=True`, keys and values live in the collection `cache`: initialise with inputs as long as the sequence
    may become, then apply to what is new of it, with `cache` mutable. Writing past the end is not noticed.

    Attributes:
        num_heads: H.
        key_size, value_size: K and V, the widths of a head's queries and keys, and of its values; None is D / H.
        use_bias: Whether the projections have biases.
        init_std, output_init_std: Deviations of the kernels at the start, and of the output's; None is Glorot's.
        mixer: How values are mixed; one of `mixers.names()`.
        mixer_kwargs: Fields of the mixer.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    num_heads: int
    key_size: int | None = None
    value_size: int | None = None
    use_bias: bool = True
    init_std: float | None = None
    output_init_std: float | None = None
    mixer: str = "dense"
    mixer_kwargs: Mapping[str, Any] = field(default_factory=FrozenDict)
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        memory: Float[Array, "B S _"] | None = None,
        *,
        mask: Bool[Array, "B _"] | None = None,
        causal: bool = False,
        decode: bool = False,
        shared: Any = None,
        train: bool = False,
    ) -> Float[Array, "B T D"]:
        """Attends from x to `memory`, of any width, or to x itself if there is none.

        Args:
            x: Where queries come from.
            memory: Where keys and values come from. With `decode`, it is given to the first call only; later ones
                find its keys and values in the cache.
            mask: True at the real positions of `memory`, or of x if there is none.
            causal: Whether position t sees positions up to t only.
            decode: Whether x continues what the cache holds; self-attention is then causal in any case.
            shared: What the mixers of all layers share, of `mixers.share`.
            train: Whether dropout is active.

        Raises:
            ValueError: The width of x is not divisible by `num_heads`, the mixer or one of its fields is unknown, or
                it cannot do what is asked.
        """
        width = x.shape[-1]
        if width % self.num_heads:
            raise ValueError(f"attention: hidden_size {width} is not divisible by num_heads {self.num_heads}")
        remembers_memory = decode and self.has_variable("cache", "memory_value")
        cross = memory is not None or remembers_memory
        mixers.demand(self.mixer, mask=mask is not None, causal=causal, cross=cross, cache=decode and not cross)
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        options: dict[str, Any] = {"use_bias": self.use_bias, **dtypes}
        key_size, value_size = (size or width // self.num_heads for size in (self.key_size, self.value_size))

        def project(name: str, size: int, source: Float[Array, "B length _"]) -> Float[Array, "B length H _"]:
            init = kernel_init(self.init_std)
            return nn.DenseGeneral((self.num_heads, size), kernel_init=init, **options, name=name)(source)

        mix = mixers.build(self.mixer, self.mixer_kwargs, **dtypes, name="mixer")
        reads = mix.reads
        q = project("query", key_size, x) if "query" in reads else None
        k: Any
        v: Any
        extra: dict[str, Any] = {} if shared is None else {"shared": shared}
        if remembers_memory and memory is None:
            k, v, mask = (self.get_variable("cache", f"memory_{name}") for name in ("key", "value", "mask"))
        else:
            source = x if memory is None else memory
            k = project("key", key_size, source) if "key" in reads else None
            v = project("value", value_size, source)
            if decode and cross:
                mask = jnp.ones(v.shape[:2], bool) if mask is None else mask
                for name, kept in (("key", k), ("value", v), ("mask", mask)):
                    self.put_variable("cache", f"memory_{name}", kept)
            elif decode:
                k, v, mask, extra["offset"] = self.remember(k, v, mask)
        mixed = mix(q, k, v, mask=mask, causal=causal or (decode and not cross), train=train, **extra)
        init = kernel_init(self.output_init_std)
        return nn.DenseGeneral(width, axis=(-2, -1), kernel_init=init, **options, name="output")(mixed)

    def remember(
        self, k: Float[Array, "B T H K"], v: Float[Array, "B T H V"], mask: Bool[Array, "B T"] | None
    ) -> tuple[Key, Value, Mask, Int[Array, ""]]:
        """Puts what is new behind what is in the cache; returns all of it, and the place of what is new."""
        mask = jnp.ones(v.shape[:2], bool) if mask is None else mask
        is_new = not self.has_variable("cache", "past_value")
        kept = {
            name: self.variable("cache", f"past_{name}", jnp.zeros_like, new)
            for name, new in (("key", k), ("value", v), ("mask", mask))
        }
        index = self.variable("cache", "past_length", jnp.zeros, (), jnp.int32)
        start = index.value
        if is_new:  # initialisation: the inputs give shapes, and stay out of the cache
            return k, v, mask, start
        for name, new in (("key", k), ("value", v), ("mask", mask)):
            at = (0, start) + (0,) * (new.ndim - 2)
            kept[name].value = lax.dynamic_update_slice(kept[name].value, new, at)
        index.value = start + v.shape[1]
        return kept["key"].value, kept["value"].value, kept["mask"].value, start
