"""WordPiece (Schuster and Nakajima, 2012; Devlin et al., 2018): words are cut into the longest known pieces, those
within a word marked by ##, after BERT's cleaning of the text.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from train.data.vocabulary import SPECIAL, check_frequency, check_size, numbered


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Pieces learned from the training texts; a word with characters that they lack is unknown.

    A piece within words is another than the same letters at their beginning. Decoding puts a space between words.

    Attributes:
        vocab_size: tokens at most, special ones included.
        min_frequency: rarer pieces are not learned.
        lowercase: whether letters lose their case and accents first.
    """

    vocab_size: int = 8_000
    min_frequency: int = 2
    lowercase: bool = True

    special = SPECIAL

    def __post_init__(self) -> None:
        check_frequency(self.min_frequency)

    def train(self, texts: Iterable[str]) -> Any:
        from tokenizers import models

        texts = list(texts)
        # In one go, the library numbers the letters within words in an order that changes from process to process, and
        # of equally frequent pairs takes that with the smaller numbers.
        letters = self._trained(texts, 0, ())
        check_size(self.vocab_size, len(letters), "special tokens and the letters of the training texts")
        within = sorted(letter for letter in letters if letter.startswith("##"))
        words = self._trained(texts, self.vocab_size, within)
        tokenizer = self._untrained()
        vocab = numbered(sorted(words, key=words.__getitem__))
        tokenizer.model = models.WordPiece(vocab=vocab, unk_token=SPECIAL.unknown)
        tokenizer.add_special_tokens(SPECIAL.words())
        return tokenizer

    def _trained(self, texts: Iterable[str], vocab_size: int, first: Sequence[str]) -> dict[str, int]:
        """Pieces and their numbers; `first` come first, behind special tokens."""
        from tokenizers import trainers

        tokenizer = self._untrained()
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=[*SPECIAL.words(), *first],
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer.get_vocab()

    def _untrained(self) -> Any:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers

        tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token=SPECIAL.unknown))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=self.lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer
