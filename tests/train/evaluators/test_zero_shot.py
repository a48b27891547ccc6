"""Pictures of three colours, told apart by the names of the colours."""

import dataclasses
import io

import pytest
from ml_collections import ConfigDict
from PIL import Image

from tests.train.runs import final_state, fresh
from tests.train.texts import FEW
from train import config as configs
from train import loop
from train.errors import UserError
from train.experiment import build

COLOURS = {"crimson": (220, 20, 60), "green": (0, 128, 0), "navy": (0, 0, 128)}
COUNTS = {"crimson": 4, "green": 6, "navy": 2}
CLIP = {"name": "clip", "max_length": 6, "end_token": 4, "embedding_size": 8, "image_hidden_size": 16, "patch_size": 4}
CLIP |= {"num_image_layers": 1, "text_hidden_size": 16, "num_text_layers": 1, "head_size": 8}


def png(colour, number):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), tuple(min(part + number, 255) for part in COLOURS[colour])).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zero_shot") / "pictures"
    folder.mkdir()
    rows = ["name\tcolour"]
    for colour, count in COUNTS.items():
        for number in range(count):
            (folder / f"{colour}{number}.png").write_bytes(png(colour, number))
            rows.append(f"{colour}{number}\t{colour}")
    (folder / "table.tsv").write_text("\n".join(rows))
    return folder


def config(folder, *overrides):
    source = {
        "name": "image_text",
        "images": str(folder),
        "table": "table.tsv",
        "file": "{name}.png",
        "label": "colour",
    }
    source |= {"text": "a {colour} square", "fractions": (1.0, 0.0, 0.0)}
    return configs.resolve(
        ConfigDict(
            {
                "model": CLIP,
                "objective": {"name": "contrastive"},
                "data": {
                    "source": source,
                    "tokenizer": {"name": "word"},
                    "layout": {"name": "text", "max_length": 6},
                    "batch_size": 8,
                },
                "evaluators": {"zero_shot": {"split": "train"}},
                "steps": 1,
                **FEW,
            }
        ),
        overrides,
    )


@pytest.fixture(scope="module")
def state(pictures, tmp_path_factory):
    """Of a network that has learned its few pictures."""
    folder = tmp_path_factory.mktemp("zero_shot") / "run"
    trained = config(pictures, "steps=120", "optimizer.learning_rate=3e-3")
    loop.train(trained, folder)
    return final_state(folder, trained)


TEMPLATES = "evaluators.zero_shot.templates=('a {} square', '{}')"


@pytest.mark.parametrize("names, accuracy", [(("crimson", "green", "navy"), 1.0), (("green", "navy", "crimson"), 0.0)])
def test_names_find_their_pictures(pictures, state, names, accuracy):
    """The number of a label, and nothing else, says which name is right."""
    evaluation = fresh(config(pictures, TEMPLATES, f"data.source.class_names={names}"))
    evaluator = evaluation.experiment.evaluators["zero_shot"]
    numbers = evaluator.evaluate(dataclasses.replace(evaluation, state=state))
    assert numbers == {"zero_shot_accuracy": accuracy, "majority": 0.5}
    assert tuple(numbers) == evaluator.reports(evaluation.experiment)


@pytest.mark.parametrize(
    "override, message",
    [
        ("evaluators.zero_shot.templates=('a square',)", "templates: 'a square' must have {} once"),
        ("evaluators.zero_shot.templates=()", "templates: there is none; give at least one, such as 'a photo of a {}'"),
        (
            "evaluators.zero_shot.templates=('{} on a very long wall',)",
            "prompt 'crimson on a very long wall': text has",
        ),
        ("data.source.label=None", r"the data \(image_text\) name no classes"),
    ],
)
def test_mistakes(pictures, override, message):
    with pytest.raises(UserError, match=message):
        build(config(pictures, override))


def test_prompts_need_a_vocabulary():
    flags = ["evaluators.zero_shot.split=test"]
    with pytest.raises(UserError, match="config.evaluators.zero_shot: .*config.data.layout.name=text"):
        build(configs.load("configs/captions.py:clip", flags))
