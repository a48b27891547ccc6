"""WordPiece (Schuster and Nakajima, 2012; Devlin et al., 2018): words are cut into the longest known pieces, those
within a word marked by ##, after BERT's cleaning of the text.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from train.data.vocabulary import SPECIAL


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Pieces learned from the training texts; a word with characters that they lack is unknown.

    Attributes:
        vocab_size: tokens at most, special ones included.
        min_frequency: rarer pieces are not learned.
        lowercase: whether letters lose their case and accents first.
    """

    vocab_size: int = 8_000
    min_frequency: int = 2
    lowercase: bool = True

    special = SPECIAL

    def train(self, texts: Iterable[str]) -> Any:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

        tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token=SPECIAL.unknown))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=self.lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=SPECIAL.words(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer
