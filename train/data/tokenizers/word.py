"""Every word is a token: what stands between white space."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from train.data.vocabulary import SPECIAL


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """The most frequent words of the training texts; others are unknown.

    Attributes:
        vocab_size: tokens at most, special ones included.
        min_frequency: rarer words are unknown.
        lowercase: whether letters lose their case first.
        split: "whitespace" cuts at white space only, for texts that are cut into words already; "punctuation" cuts
            punctuation off too.
    """

    vocab_size: int = 30_000
    min_frequency: int = 1
    lowercase: bool = False
    split: Literal["whitespace", "punctuation"] = "whitespace"

    special = SPECIAL

    def train(self, texts: Iterable[str]) -> Any:
        import tokenizers
        from tokenizers import models, normalizers, pre_tokenizers, trainers

        tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIAL.unknown))
        if self.lowercase:
            tokenizer.normalizer = normalizers.Lowercase()
        whitespace = self.split == "whitespace"
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit() if whitespace else pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=SPECIAL.words(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer
