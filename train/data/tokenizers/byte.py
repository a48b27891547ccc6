"""Every byte of the UTF-8 text is a token: 256 of them, whatever the language, and none unknown."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from train.data.vocabulary import SPECIAL, numbered


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Nothing is learned: the vocabulary is the same for all texts, and decoding gives every text back."""

    special = SPECIAL

    def train(self, texts: Iterable[str]) -> Any:
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers

        # The library writes bytes as printable characters, which then are its vocabulary; sorted, for one numbering.
        model = models.BPE(vocab=numbered(sorted(pre_tokenizers.ByteLevel.alphabet())), merges=[])
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.add_special_tokens(SPECIAL.words())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer
