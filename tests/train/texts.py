"""Small runs on texts, that tests of decoding make."""

from pathlib import Path

from ml_collections import ConfigDict

from train import config as configs

ENGLISH = ("one", "two", "three", "four", "five")
GERMAN = ("eins", "zwei", "drei", "vier", "fünf")
COUNTS = [(first, last) for first in range(5) for last in range(first + 1, 6)]
SOURCES = [" ".join(ENGLISH[first:last]) for first, last in COUNTS]
TARGETS = [" ".join(GERMAN[first:last][::-1]) + "." for first, last in COUNTS]
FEW = {"optimizer": {"name": "adam", "learning_rate": 1e-2}, "log_every": 1000, "mesh": {"data": 1}}


def write_pairs(folder: Path) -> Path:
    """All runs of numbers in English and, backwards, in German."""
    folder.mkdir()
    for language, texts in (("en", SOURCES), ("de", TARGETS)):
        (folder / f"train.{language}").write_text("".join(f"{text}\n" for text in texts))
    return folder


def translation(data: Path, *overrides: str) -> ConfigDict:
    """A network that can learn these pairs by heart."""
    source = {"name": "parallel_text", "path": str(data), "validation": None, "test": "train"}
    model = {"name": "seq2seq", "hidden_size": 32, "embedding_size": 16}
    config = {
        "model": model,
        "objective": {"name": "sequence_to_sequence"},
        "data": {
            "source": source,
            "tokenizer": {"name": "word", "split": "punctuation"},
            "layout": {"name": "translation", "max_length": 8},
            "batch_size": 8,
        },
        "evaluators": {},
        "steps": 1,
        **FEW,
    }
    return configs.resolve(ConfigDict(config), overrides)


def language(file: Path, *overrides: str) -> ConfigDict:
    """A small GPT of characters."""
    file.write_text("to be or not to be\nthat is the question\n" * 3)
    config = {
        "model": {"name": "gpt", "max_length": 12, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_size": 16},
        "objective": {"name": "language_modeling"},
        "data": {
            "source": {"name": "text", "train": (str(file),)},
            "tokenizer": {"name": "character"},
            "layout": {"name": "language", "max_length": 12, "stride": 1},
            "batch_size": 8,
        },
        "evaluators": {},
        "steps": 1,
        **FEW,
    }
    return configs.resolve(ConfigDict(config), overrides)
