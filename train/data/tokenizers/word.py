"""Every word is a token: what stands between white space."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from train.data.vocabulary import SPECIAL, check_frequency, check_size, numbered


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """The most frequent words of the training texts; others are unknown. Decoding puts a space between words.

    Words spelled like a special token are that token: "[UNK]" is unknown.

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

    def __post_init__(self) -> None:
        check_size(self.vocab_size, 7, "6 special tokens and a word")
        check_frequency(self.min_frequency)

    def train(self, texts: Iterable[str]) -> Any:
        import tokenizers
        from tokenizers import models, normalizers, pre_tokenizers, trainers

        tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIAL.unknown))
        if self.lowercase:
            tokenizer.normalizer = normalizers.Lowercase()
        whitespace = self.split == "whitespace"
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit() if whitespace else pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(
            vocab_size=self.vocab_size - len(SPECIAL.words()), min_frequency=self.min_frequency, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        # The trainer would give a special token that stands in the texts two numbers.
        words = tokenizer.get_vocab()
        vocab = numbered(sorted(words, key=words.__getitem__))
        tokenizer.model = models.WordLevel(vocab=vocab, unk_token=SPECIAL.unknown)
        tokenizer.add_special_tokens(SPECIAL.words())
        return tokenizer
