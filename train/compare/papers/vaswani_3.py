"""Vaswani et al. (2017), Table 3, by conversions of the paper that agree: variations of the Transformer."""

from typing import Any

from train.compare.papers import Cell, PaperTable

VOCABULARY = 37_000  # "About 37,000", shared by both languages.
# Perplexity, BLEU and millions of parameters on newstest2013, and fields of the architecture.
ROWS: dict[str, tuple[float, float, float | None, dict[str, Any]]] = {
    "base": (4.92, 25.8, 65, {}),
    "(A) h = 1, d_k = 512": (5.29, 24.9, None, {"num_heads": 1}),
    "(A) h = 4, d_k = 128": (5.00, 25.5, None, {"num_heads": 4}),
    "(A) h = 16, d_k = 32": (4.91, 25.8, None, {"num_heads": 16}),
    "(A) h = 32, d_k = 16": (5.01, 25.4, None, {"num_heads": 32}),
    "(B) d_k = 16": (5.16, 25.1, 58, {"key_size": 16}),
    "(B) d_k = 32": (5.01, 25.4, 60, {"key_size": 32}),
    "(C) N = 2": (6.11, 23.7, 36, {"num_layers": 2}),
    "(C) N = 4": (5.19, 25.3, 50, {"num_layers": 4}),
    "(C) N = 8": (4.88, 25.5, 80, {"num_layers": 8}),
    "(C) d = 256, d_k = 32": (5.75, 24.5, 28, {"hidden_size": 256, "num_heads": 8}),
    "(C) d = 1024, d_k = 128": (4.66, 26.0, 168, {"hidden_size": 1024, "num_heads": 8}),
    "(C) ff = 1024": (5.12, 25.4, 53, {"mlp_size": 1024}),
    "(C) ff = 4096": (4.75, 26.2, 90, {"mlp_size": 4096}),
    "(D) dropout 0": (5.77, 24.6, None, {}),
    "(D) dropout 0.2": (4.95, 25.5, None, {}),
    "(D) smoothing 0": (4.67, 25.3, None, {}),
    "(D) smoothing 0.2": (5.47, 25.7, None, {}),
    "(E) learned positions": (4.92, 25.7, None, {}),
    "big": (4.33, 26.4, 213, {"variant": "big"}),
}


def table() -> PaperTable:
    return PaperTable(
        "Variations of the Transformer, English to German, newstest2013 (Vaswani et al., 2017, Table 3)",
        ("perplexity", "BLEU", "parameters, M"),
        {
            name: (Cell(perplexity), Cell(bleu), _count(millions, fields))
            for name, (perplexity, bleu, millions, fields) in ROWS.items()
        },
        (
            f"Ours counts one vocabulary of {VOCABULARY:,} for both languages. No single vocabulary gives all printed "
            "counts; the differences between rows are what can be compared.",
            "No config trains on WMT 2014; configs/multi30k_en_de.py:transformer is a small one.",
        ),
    )


def _count(millions: float | None, fields: dict[str, Any]) -> Cell | None:
    """Nothing where the sizes are those of the base."""
    if millions is None and not fields:
        return None
    sizes = {"name": "transformer", "source_vocab_size": VOCABULARY, "target_vocab_size": VOCABULARY}
    return Cell(millions, scale=1e-6, count=sizes | fields)
