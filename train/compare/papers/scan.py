"""SCAN (Lake & Baroni, 2018): commands into actions, split at random, by length, and by a verb seen alone."""

from train.compare.papers import Cell, PaperTable

SPLITS = {"simple": "simple", "length": "length", "add jump": "addprim_jump"}
MODELS = {"LSTM with attention": "", "Transformer": "_transformer"}


def table() -> PaperTable:
    return PaperTable(
        "SCAN, actions that are right as a whole, in % (after Lake & Baroni, 2018)",
        tuple(SPLITS),
        {
            name: tuple(
                Cell(None, f"configs/scan.py:{split}{suffix}", metric="test/exact_match", scale=100)
                for split in SPLITS.values()
            )
            for name, suffix in MODELS.items()
        },
        ("The paper's numbers could not be verified here, and are left out.",),
    )
