"""Bahdanau et al. (2014), Table 2, by transcriptions that agree: attention against one vector."""

from train.compare.papers import Cell, PaperTable

PRINTED = {
    "RNNencdec-30": (13.93, 24.19),
    "RNNsearch-30": (21.50, 31.44),
    "RNNencdec-50": (17.82, 26.71),
    "RNNsearch-50": (26.75, 34.16),
    "RNNsearch-50*": (28.45, 36.15),
    "Moses": (33.30, 35.63),
}
OURS = {"RNNencdec-50": "gru_fixed", "RNNsearch-50": "gru"}


def table() -> PaperTable:
    return PaperTable(
        "English to French, WMT 2014, BLEU (Bahdanau et al., 2014, Table 2)",
        ("all", "no unknown words", "Multi30k, English to German"),
        {name: (Cell(whole), Cell(known), _multi30k(name)) for name, (whole, known) in PRINTED.items()},
        ("No config trains on WMT 2014. The last column is not the paper's: small networks of both kinds.",),
    )


def _multi30k(name: str) -> Cell | None:
    return Cell(None, f"configs/multi30k_en_de.py:{OURS[name]}", metric="test/bleu") if name in OURS else None
