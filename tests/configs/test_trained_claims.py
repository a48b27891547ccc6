"""Claims that train, shortened to a few updates: the machinery decides, whatever the verdict is."""

from pathlib import Path

import pytest

from train import config as configs
from train import loop
from train.compare import claims
from train.compare.checks import Answer
from train.compare.claims import ClaimLab
from train.compare.lab import Lab

FILES = sorted((Path(__file__).resolve().parents[2] / "configs" / "claims").glob("c*.py"))
TRAINED = [file for file in FILES if "lab.train(" in file.read_text()]
QUICK = ("c01", "c02")  # The cheapest.
ALWAYS = [file for file in TRAINED if file.stem.startswith(QUICK)]
assert len(ALWAYS) == len(QUICK)

CIFAR = [file for file in TRAINED if "cifar10" in file.read_text() or "few_images.py" in file.read_text()]

STEPS = 4
SIZES = {"train_size": 64, "eval_size": 32}
ANSWERS = Answer.__args__


class Shortened(ClaimLab):
    """A laboratory whose configs train for few updates, on little data that is generated."""

    @staticmethod
    def load(path, *overrides):
        return shortened(configs.load(path, overrides))


def shortened(config):
    if config.data.source.get("dataset") == "cifar10":  # As large, but in one colour, and in the library.
        config = configs.resolve(config, ["data.source.name=digits", "data.image_size=32", "data.batch_size=16"])
    source = config.data.source
    flags = [f"steps={min(STEPS, config.steps)}", "log_every=1"]
    flags += [f"data.source.{field}={min(size, source[field])}" for field, size in SIZES.items() if source.get(field)]
    flags += [f"evaluators.{name}.every=2" for name, one in config.evaluators.items() if one.every]
    flags += ["data.length_buckets=()"] if config.data.get("length_buckets") else []  # Each is compiled by itself.
    flags += ["optimizer.schedule.warmup_steps=1"] if config.optimizer.schedule.get("warmup_steps") else []
    return configs.resolve(config, flags)


def judged(file, folder, scale="small", seeds=2):
    """The finding, and how many runs had to be trained for it."""
    trained = []

    def train(config, workdir, **kwargs):
        trained.append(workdir)
        return loop.train(config, workdir, **kwargs)

    (claim,) = claims.load([str(file)])
    lab = Shortened(Lab(str(folder), train_run=train), scale, range(seeds))
    return claims.judge(claim, lab), len(trained)


def check_decides(file, folder):
    finding, trained = judged(file, folder)
    assert finding.error is None
    assert finding.answer in ANSWERS
    assert trained > 0 and finding.studies
    for table in finding.tables:
        assert {len(row) for row in table.rows} == {len(table.header)}, table.title
    again, trained = judged(file, folder)
    assert trained == 0, "finished runs are found again"
    assert again.checks == finding.checks


@pytest.mark.parametrize("file", ALWAYS, ids=lambda file: file.stem)
def test_decides_quickly(file, tmp_path):
    check_decides(file, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("file", [file for file in TRAINED if file not in ALWAYS], ids=lambda file: file.stem)
def test_decides(file, tmp_path):
    check_decides(file, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("file", CIFAR, ids=lambda file: file.stem)
def test_decides_at_full_scale(file, tmp_path):
    finding, trained = judged(file, tmp_path, "full", seeds=1)
    assert finding.error is None
    assert finding.answer in ANSWERS and trained > 0
