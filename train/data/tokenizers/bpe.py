"""Byte pair encoding (Sennrich et al., 2015, https://arxiv.org/abs/1508.07909) over bytes, as in GPT-2: the most
frequent pair of neighbours becomes a token, again and again, so frequent words are one token and none is unknown.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from train.data.vocabulary import SPECIAL, check_frequency, check_size


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Merges learned from the training texts, within words. Decoding gives the text back, but for lost case.

    Attributes:
        vocab_size: tokens at most, special ones and single bytes included.
        min_frequency: rarer pairs stay two tokens.
        lowercase: whether letters lose their case first.
    """

    vocab_size: int = 8_000
    min_frequency: int = 2
    lowercase: bool = False

    special = SPECIAL

    def __post_init__(self) -> None:
        check_size(self.vocab_size, 262, "6 special tokens and 256 bytes")
        check_frequency(self.min_frequency)

    def train(self, texts: Iterable[str]) -> Any:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

        tokenizer = tokenizers.Tokenizer(models.BPE())
        # A word at the beginning of a text is the same token as elsewhere. (The library's own add_prefix_space adds
        # none where there is one already, so that decoding could not tell.)
        prefix = normalizers.Prepend(" ")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), prefix]) if self.lowercase else prefix
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=SPECIAL.words(),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer
