"""Cross-entropy of hidden tokens given those on both sides (Devlin et al., 2018, section 3.1)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from train import objectives
from train.errors import UserError

MASKED, REPLACED = 0.8, 0.1  # Shares of the selected tokens; the rest stays as it is.


@dataclasses.dataclass(frozen=True)
class Objective:
    """Reads `tokens` [B, T]; the model gives logits [B, T, vocabulary] of the token that stands at each place.

    Some tokens are selected by chance; of these, 80 % become the mask token, 10 % a random one, and 10 % stay. Only
    selected tokens count. In evaluation the selection is the same every time. If the batch has `mask` [B, T], only
    tokens where it is True are selected.

    Attributes:
        mask_token: the token that hides another.
        mask_rate: probability of each token to be selected.
        special_tokens: tokens that are never selected, such as those that begin, separate and pad texts.
        next_sentence: whether the model's second head is trained too, on `label` [B]: 0 where the second segment
            follows the first, 1 where it does not. Its loss, a mean over the rows of the batch, is added.
    """

    mask_token: int
    mask_rate: float = 0.15
    special_tokens: tuple[int, ...] = ()
    next_sentence: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.mask_rate <= 1:
            raise UserError(f"config.objective.mask_rate: {self.mask_rate} is not above 0 and at most 1.")

    @property
    def reads(self) -> tuple[str, ...]:
        return ("tokens", "label") if self.next_sentence else ("tokens",)

    @property
    def measures(self) -> tuple[str, ...]:
        own = ("loss", "accuracy")
        return (*own, "next_sentence_loss", "next_sentence_accuracy") if self.next_sentence else own

    def loss(
        self,
        model: nn.Module,
        variables: Mapping[str, Any],
        batch: objectives.Batch,
        *,
        rngs: Any,
        train: bool,
    ) -> tuple[objectives.Terms, objectives.Metrics, Any]:
        tokens = batch["tokens"]
        self._check_tokens(model.vocab_size)
        real = objectives.valid_places(batch, tokens.shape, "mask")
        key = rngs["mask"] if train else jax.random.key(0)
        corrupted, selected = self.corrupt(tokens, real, model.vocab_size, key)
        outputs = objectives.apply(model, variables, {**batch, "tokens": corrupted}, rngs=rngs, train=train)
        logits, mutated, auxiliary = outputs
        if logits.shape != (*tokens.shape, model.vocab_size):
            raise ValueError(
                f"the model gives {logits.shape}, not logits {(*tokens.shape, model.vocab_size)} of the tokens; "
                "set head='masked_language_model'"
            )
        if bool(auxiliary) != self.next_sentence:
            has = "has a" if auxiliary else "has no"
            raise ValueError(f"the model {has} next-sentence head; set next_sentence of both model and objective")
        metrics = _judge(logits, tokens, selected)
        terms = [metrics["loss"]]
        for follows in auxiliary:
            judged = _judge(follows, batch["label"], objectives.valid_rows(batch))
            metrics |= {f"next_sentence_{name}": pair for name, pair in judged.items()}
            terms.append(judged["loss"])
        return terms, metrics, mutated

    def corrupt(
        self, tokens: Int[Array, "B T"], real: Bool[Array, "B T"], vocab_size: int, key: PRNGKeyArray
    ) -> tuple[Int[Array, "B T"], Bool[Array, "B T"]]:
        """Hides or replaces some of the `real` tokens; returns what the model reads, and which tokens were selected."""
        select, treat, draw = jax.random.split(key, 3)
        special = jnp.isin(tokens, jnp.asarray(self.special_tokens, tokens.dtype))
        selected = real & ~special & jax.random.bernoulli(select, self.mask_rate, tokens.shape)
        treatment = jax.random.uniform(treat, tokens.shape)
        drawn = jax.random.randint(draw, tokens.shape, 0, vocab_size, tokens.dtype)
        treated = jnp.where(treatment < MASKED + REPLACED, drawn, tokens)
        treated = jnp.where(treatment < MASKED, self.mask_token, treated)
        return jnp.where(selected, treated, tokens), selected

    def _check_tokens(self, vocab_size: int) -> None:
        for token in (self.mask_token, *self.special_tokens):
            if not 0 <= token < vocab_size:
                raise ValueError(f"mask_token and special_tokens must be from 0 to {vocab_size - 1}, not {token}")


def _judge(logits: Array, target: Array, valid: Array) -> objectives.Metrics:
    correct = jnp.argmax(logits, -1) == target
    return {
        "loss": objectives.weighted(objectives.cross_entropy(logits, target, 0.0), valid),
        "accuracy": objectives.weighted(correct.astype(jnp.float32), valid),
    }
