"""The first layer of models that read either vectors or tokens."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float, Int

from archs.layers.fields import Dtype, refuse


class SequenceInput(nn.Module):
    """The steps of a sequence as they are, or the embeddings of tokens, with dropout.

    Attributes:
        owner: The architecture, with whose name errors begin.
        vocab_size: Tokens that there are; None reads sequences and has no parameters.
        embedding_size: D of a token, with a vocabulary only; None is `default_size`.
        default_size: The width of what reads the embeddings.
        dropout_rate: Share of the embeddings dropped in training.
        dtype: Type of the embeddings.
        param_dtype: Type of the parameters.
    """

    owner: str
    vocab_size: int | None
    embedding_size: int | None
    default_size: int
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self, sequence: Float[Array, "B T D"] | None, tokens: Int[Array, "B T"] | None, *, train: bool = False
    ) -> Float[Array, "B T D"]:
        """Reads tokens if there is a vocabulary, else the sequence; raises ValueError if anything else is given."""
        self.check(sequence is not None, tokens is not None)
        x: Any = sequence if self.vocab_size is None else tokens
        if self.vocab_size is None:
            return x
        embedding = nn.Embed(
            self.vocab_size,
            self.embedding_size or self.default_size,
            embedding_init=nn.initializers.normal(1.0),  # the kernels that follow start for inputs of unit variance
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="tokens",
        )
        return nn.Dropout(self.dropout_rate, deterministic=not train)(embedding(x))

    def check(self, has_sequence: bool, has_tokens: bool) -> None:
        """Raises ValueError if the input is not what the fields say."""
        names: dict[str, Any] = {"sequence": has_sequence, "tokens": has_tokens}
        given = " and ".join(name for name, is_given in names.items() if is_given) or "missing"
        reads, change = ("sequence", "set") if self.vocab_size is None else ("tokens", "leave out")
        problems = {
            f"vocab_size is {self.vocab_size}, so the input must be {reads} alone, and it is {given}; give {reads}, or "
            f"{change} vocab_size": given != reads,
            f"embedding_size is {self.embedding_size}, and vocab_size is missing; give both or neither": (
                self.vocab_size is None and self.embedding_size is not None
            ),
        }
        refuse(self.owner, problems)
