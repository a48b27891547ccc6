"""Claims that train, shortened to a few updates: the machinery decides, whatever the verdict is."""

from pathlib import Path

import pytest

from train import config as configs
from train import loop
from train.compare import claims
from train.compare.checks import Answer
from train.compare.claims import ClaimLab
from train.compare.lab import Lab
from train.compare.subject import Subject

FILES = map(str, sorted((Path(__file__).resolve().parents[2] / "configs" / "claims").glob("c*.py")))
CLAIMS = {Path(claim.path).stem: claim for claim in claims.load(list(FILES))}
TRAINED = [name for name, claim in CLAIMS.items() if "small" in claim.trains]
QUICK = ("c01", "c02")  # The cheapest.
ALWAYS = [name for name in TRAINED if name.startswith(QUICK)]
assert len(ALWAYS) == len(QUICK)
FULL = [name for name, claim in CLAIMS.items() if "lab.scale" in Path(claim.path).read_text()]

STEPS, BATCH = 4, 8
SIZES = {"train_size": 64, "eval_size": 16}
# Configs that read data which need not be here.
READ = tuple(
    f"configs/{name}.py"
    for name in ("sequential_mnist", "multi30k_en_de", "fusion_digits", "bert_text", "gpt_text", "lra")
)
ANSWERS = Answer.__args__


class Shortened(ClaimLab):
    """A laboratory whose configs train for few updates, on little data that is generated."""

    @staticmethod
    def load(path, *overrides):
        form = ":embedded" if path.startswith(READ) and not path.endswith(":embedded") else ""
        return shortened(configs.load(path + form, overrides))


def shortened(config):
    if config.data.source.get("dataset") == "cifar10":  # As large, but in one colour, and in the library.
        config = configs.resolve(config, ["data.source.name=digits", "data.image_size=32"])
    source = config.data.source
    flags = [
        f"steps={min(STEPS, config.steps)}",
        "log_every=1",
        f"data.batch_size={min(BATCH, config.data.batch_size)}",
    ]
    flags += [f"data.source.{field}={min(size, source[field])}" for field, size in SIZES.items() if source.get(field)]
    flags += [f"evaluators.{name}.every=2" for name, one in config.evaluators.items() if one.every]
    flags += ["data.length_buckets=()"] if config.data.get("length_buckets") else []  # Each is compiled by itself.
    flags += ["optimizer.schedule.warmup_steps=1"] if config.optimizer.schedule.get("warmup_steps") else []
    return configs.resolve(config, flags)


def judged(name, folder, scale="small", seeds=1):
    """The finding, and how many runs had to be trained for it."""
    trained = []

    def train(config, workdir, **kwargs):
        trained.append(workdir)
        return loop.train(config, workdir, **kwargs)

    lab = Shortened(Lab(str(folder), train_run=train), scale, range(seeds))
    return claims.judge(CLAIMS[name], lab), len(trained)


def check_decides(finding):
    assert finding.error is None
    assert finding.answer in ANSWERS
    for table in finding.tables:
        assert {len(row) for row in table.rows} == {len(table.header)}, table.title


@pytest.mark.parametrize("name", ALWAYS)
def test_decides_and_finds_its_runs_again(name, tmp_path):
    finding, trained = judged(name, tmp_path, seeds=2)
    check_decides(finding)
    assert trained > 0 and finding.studies
    again, trained = judged(name, tmp_path, seeds=2)
    assert trained == 0 and again.checks == finding.checks


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINED if name not in ALWAYS])
def test_decides(name, tmp_path, monkeypatch):
    take_less(name, monkeypatch)
    finding, trained = judged(name, tmp_path)
    check_decides(finding)
    assert trained > 0 and finding.studies


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_decides_at_full_scale(name, tmp_path, monkeypatch):
    """Nothing is timed: networks of that size take an accelerator. How times are taken is tested beside `Subject`."""
    for method in ("seconds", "seconds_to_write", "memory"):
        monkeypatch.setattr(Subject, method, counted)
    take_less(name, monkeypatch)
    finding, trained = judged(name, tmp_path, "full")
    check_decides(finding)
    assert (trained > 0) == ("full" in CLAIMS[name].trains)


def take_less(name, monkeypatch):
    """Of what a claim goes through, one learning rate and one gap, and the fewest and the most examples."""
    constants = CLAIMS[name].run.__globals__
    if "RATES" in constants:
        monkeypatch.setitem(constants, "RATES", constants["RATES"][:1])
    for scale, gaps in constants.get("GAPS", {}).items():
        monkeypatch.setitem(constants["GAPS"], scale, gaps[:1])
    for scale in (constants.get("SMALL"), constants.get("FULL")):
        if isinstance(scale, dict) and "examples" in scale:
            few, *_, many = scale["examples"]
            monkeypatch.setitem(scale, "examples", (few, many))


def counted(subject, *args, **arrays):
    """Stands for a time or for bytes, and grows with the size."""
    return subject.matmul_flops
