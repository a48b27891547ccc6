"""Every character is a token."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from train.data.vocabulary import SPECIAL, check_frequency


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """The characters (Unicode code points) of the training texts, by their frequency; others are unknown.

    Decoding gives back what has no unknown characters, but for lost case.

    Attributes:
        lowercase: whether letters lose their case first.
        min_frequency: rarer characters are unknown.
    """

    lowercase: bool = False
    min_frequency: int = 1

    special = SPECIAL

    def __post_init__(self) -> None:
        check_frequency(self.min_frequency)

    def train(self, texts: Iterable[str]) -> Any:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

        tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIAL.unknown))
        if self.lowercase:
            tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
        trainer = trainers.WordLevelTrainer(
            vocab_size=1_114_112, min_frequency=self.min_frequency, special_tokens=SPECIAL.words(), show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer
