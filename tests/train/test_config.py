"""From a file and flags to a resolved config, or to one clear line."""

import re
import subprocess
import sys

import pytest
from flax.core import FrozenDict

from train import config as configs
from train.__main__ import main
from train.errors import USER_ERROR, UserError, run_command
from train.experiment import build

MLP = "configs/quickstart.py:mlp"
VIT = "configs/quickstart.py:vit"


def test_completes_what_a_config_does_not_mention():
    config = configs.load(MLP)
    assert config.model.activation == "relu"
    assert config.optimizer.b1 == 0.9
    assert config.optimizer.schedule.final_fraction == 0.0
    assert config.mesh.data == -1
    assert config.checkpoint.keep_last == 2


@pytest.mark.parametrize(
    "flag, value",
    [
        ("model.hidden_sizes=(3, 4)", (3, 4)),
        ("model.hidden_sizes=5", (5,)),
        ("model.num_classes=None", None),
        ("model.dropout_rate=0.5", 0.5),
        ("optimizer.learning_rate=1", 1.0),
        ("optimizer.clip_norm=1", 1.0),  # its default is None
        ("optimizer.nesterov=true", True),
        ("data.image_size=16", 16),
        ("data.view=flat", "flat"),
        ("evaluators.shift_robustness.max_shift=3", 3),  # the config does not mention this evaluator
        ("data.augmentation.random_shift.pixels=2", 2),
        ("optimizer.schedule.warmup_steps=10", 10),
        ("--config.seed=7", 7),
    ],
)
def test_every_field_is_a_flag(flag, value):
    config = configs.load(MLP, [flag])
    for key in flag.removeprefix("--config.").partition("=")[0].split("."):
        config = config[key]
    assert config == value and type(config) is type(value)


def test_a_choice_brings_its_fields():
    config = configs.load(MLP, ["optimizer.name=sgd", "optimizer.momentum=0.9", "optimizer.schedule.name=rsqrt"])
    assert config.optimizer.momentum == 0.9
    assert config.optimizer.schedule.timescale == 1000
    assert "b1" not in config.optimizer


def test_a_variant_by_flag_sets_its_fields_and_other_flags_win():
    model = configs.load(VIT, ["model.variant=B/16", "model.num_layers=2"]).model
    assert (model.hidden_size, model.patch_size, model.num_layers) == (768, 16, 2)
    assert model.pool == "mean", "the file's, of which the variant says nothing"


def test_another_target_by_flag_keeps_what_both_have():
    config = configs.load(MLP, ["model.name=rnn", "optimizer.name=sgd", "objective.name=regression"])
    assert config.model.dropout_rate == 0.1 and "hidden_sizes" not in config.model
    assert config.optimizer.learning_rate == 3e-3 and "weight_decay" not in config.optimizer
    assert list(config.objective) == ["name"]
    assert configs.load("configs/quickstart.py:lenet", ["model.name=vit"]).model.variant is None
    assert configs.load("configs/quickstart.py:lenet", ["model.variant=B/16", "model.name=vit"]).model.num_layers == 12


def test_a_mixer_has_a_section_of_its_own():
    config = configs.load(VIT, ["model.mixer_kwargs.dropout_rate=0.25"])
    assert configs.arguments(config.model)["mixer_kwargs"] == FrozenDict(dropout_rate=0.25, kernel="auto")
    assert hash(build(config).recipe) == hash(build(config).recipe)


def test_the_mixer_of_a_part_has_a_section_when_it_is_named():
    file = "configs/scan.py:simple_transformer:embedded"
    assert configs.arguments(configs.load(file).model)["decoder_mixer_kwargs"] == FrozenDict()
    config = configs.load(file, ["model.decoder_mixer=dense", "model.decoder_mixer_kwargs.dropout_rate=0.25"])
    assert build(config).model.decoder_mixer_kwargs["dropout_rate"] == 0.25
    with pytest.raises(UserError, match="config.model.decoder_mixer_kwargs has no field 'dropout_rate'"):
        configs.load(file, ["model.decoder_mixer_kwargs.dropout_rate=0.25"])


def test_json_brings_the_same_config_back():
    config = configs.load(VIT, ["optimizer.clip_norm=1", "evaluators.shift_robustness.max_shift=1"])
    again = configs.from_json(configs.to_json(config))
    assert again.to_dict() == config.to_dict()
    assert configs.digest(again) == configs.digest(config)


@pytest.mark.parametrize(
    "flag, same",
    [("seed=1", False), ("model.hidden_sizes=3", False), ("log_every=7", True), ("mesh.fsdp=1", True)],
)
def test_the_digest_names_the_result(flag, same):
    assert (configs.digest(configs.load(MLP, [flag])) == configs.digest(configs.load(MLP))) is same


def test_differences_name_what_matters():
    before, after = (
        configs.to_json(configs.load(MLP, f)) for f in ([], ["seed=3", "checkpoint.every=5", "log_every=1"])
    )
    assert configs.differences(before, after) == ["seed: 0 -> 3"]


# The user's mistakes: flags, and what the one line must say.
RNN = "configs/quickstart.py:rnn"
ADDING = ["--config.data.source.name=adding", "--config.objective.name=regression", "--config.model.num_classes=1"]
MISTAKES = {
    "config file of another kind": (["--config=README.md"], "README.md is not a config file"),
    "unknown config file": (["--config=configs/quikstart.py"], "did you mean 'configs/quickstart.py'"),
    "unknown argument": (["--config=configs/quickstart.py:lent"], "did you mean 'lenet'"),
    "unknown field": (
        ["--config.model.hiden_sizes=3"],
        "config.model has no field 'hiden_sizes'; did you mean 'hidden_sizes'",
    ),
    "unknown section": (["--config.modle.hidden_sizes=3"], "config has no field 'modle'; did you mean 'model'"),
    "section instead of field": (["--config.model=3"], "config.model is a section"),
    "wrong number": (["--config.optimizer.learning_rate=fast"], "config.optimizer.learning_rate"),
    "wrong items": (["--config.model.hidden_sizes=(8,'a')"], "config.model.hidden_sizes: (8, 'a') is not allowed"),
    "wrong choice": (["--config.model.activation=rely"], "it must be one of 'relu'"),
    "unknown architecture": (["--config.model.name=mpl"], "did you mean 'mlp'"),
    "unknown variant": (["--config.model.variant=B/15"], "config.model.variant: mlp has no variant 'B/15'"),
    "unknown optimizer": (["--config.optimizer.name=adm"], "did you mean 'adam'"),
    "unknown schedule": (["--config.optimizer.schedule.name=cosin"], "did you mean 'cosine'"),
    "unknown objective": (["--config.objective.name=clasification"], "did you mean 'classification'"),
    "unknown evaluator": (["--config.evaluators.acuracy.every=3"], "did you mean 'accuracy'"),
    "unknown source": (["--config.data.source.name=digit"], "did you mean 'digits'"),
    "unknown split": (["--config.evaluators.accuracy.split=tset"], "split 'tset' does not exist"),
    "missing field": (["--config.data.source.name=tfds"], "config.data.source.dataset is required (str)"),
    "input the data cannot give": (
        ["--config.data.source.name=adding"],
        "config.model: mlp reads 'features', but the data (adding) give sequence, target",
    ),
    "target the data cannot give": (["--config.objective.name=regression"], "regression reads 'target'"),
    "shape the model cannot read": (
        ["--config=configs/quickstart.py:lenet", "--config.data.image_size=None"],
        "lenet cannot read image [64, 8, 8, 1]",
    ),
    "too few classes": (["--config.model.num_classes=9"], "9 is too few; the data have 10 classes"),
    "too small a vocabulary": (
        ["--config=configs/transduction.py", "--config.model.source_vocab_size=5"],
        "config.model.source_vocab_size: 5 is too few; the data have 10 tokens",
    ),
    "too few types of tokens": (
        ["--config=configs/nli.py:bert:embedded", "--config.model.num_types=2"],
        "config.model.num_types: 2 is too few; the data have 4 types of tokens",
    ),
    "marks that nobody reads": (
        ["--config=configs/nli.py:lstm:embedded", "--config.data.layout.mark_shared=True"],
        "config.data.layout.mark_shared: rnn reads no types of tokens",
    ),
    "weight of a head that is not there": (
        ["--config.objective.auxiliary_weight=0.3"],
        "classification cannot judge mlp: the model has no auxiliary head; leave out auxiliary_weight",
    ),
    "a sequence that the mesh cannot cut": (
        ["--config=configs/quickstart.py:vit", "--config.model.mixer=ring", "--config.model.pool=token"]
        + ["--config.mesh.seq=2"],
        "mixer ring: a sequence of 5 positions cannot be cut over the 2 devices",
    ),
    "rows to compare in parts": (
        ["--config=configs/captions.py:clip", "--config.optimizer.accumulate_steps=2"],
        "accumulate_steps: contrastive compares the rows of a batch",
    ),
    "metric that nobody measures": (
        ["--config.checkpoint.keep_best=1", "--config.checkpoint.metric=test/acuracy"],
        "did you mean 'test/accuracy'",
    ),
    "seed too large": (["--config.seed=4294967296"], "config.seed: 4294967296 is out of range"),
    "image of no size": (["--config.data.image_size=0"], "config.data.image_size: 0 is out of range"),
    "shift backwards": (["--config.data.augmentation.random_shift.pixels=-1"], "random_shift.pixels: -1"),
    "change of images that are not there": (
        [f"--config={RNN}", *ADDING, "--config.data.permutation_seed=1"],
        "config.data.permutation_seed: the data have no images",
    ),
    "rate below zero": (
        ["--config.optimizer.learning_rate=-1"],
        "config.optimizer.learning_rate: -1.0 is out of range",
    ),
    "profile past the end": (["--profile=3:9999"], "ends after the last of 600 steps"),
    "out of range": (["--config.steps=0"], "config.steps: 0 is out of range"),
    "batch that does not split": (
        ["--config.optimizer.accumulate_steps=3"],
        "config.data.batch_size: 64 is not divisible by 3",
    ),
    "devices that are not there": (["--config.mesh.fsdp=3"], "config.mesh: data=-1, fsdp=3"),
    "best without a metric": (["--config.checkpoint.keep_best=1"], "no evaluator measures 'validation/loss'"),
    "unknown flag": (["--workers=3"], "unknown flag '--workers=3'; did you mean '--workdir'"),
    "a flag twice": (["--profile=0:2", "--profile=2:4"], "--profile is given twice; leave one out"),
    "bad profile": (["--profile=3"], "is not START:STOP"),
    "log of nothing": (["--config.log_every=0"], "config.log_every"),
    "gradient of nothing": (["--config.optimizer.name=lbfgs"], "config.o"),
}


@pytest.mark.parametrize("flags, line", MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_clear_line(flags, line, tmp_path, capsys):
    workdir = tmp_path / "run"
    default = [] if any(flag.startswith("--config=") for flag in flags) else [f"--config={MLP}"]
    assert run_command(lambda: main([*default, *flags, f"--workdir={workdir}"])) == USER_ERROR
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1, "one line"
    assert not workdir.exists(), "nothing is written"


def test_a_mistake_ends_the_process_with_2(tmp_path):
    command = [
        sys.executable,
        "-m",
        "train",
        f"--config={MLP}",
        "--config.model.widht=3",
        f"--workdir={tmp_path / 'run'}",
    ]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "config.model has no field 'widht'" in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_config(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("def get_config(:\n")
    with pytest.raises(UserError, match="broken.py:1"):
        configs.load(str(file))
    file = tmp_path / "other.py"
    file.write_text("x = 1\n")
    with pytest.raises(UserError, match="defines no get_config"):
        configs.load(str(file))


@pytest.mark.parametrize(
    "flags, field, value",
    [
        (["model.name=resnet", "model.num_classes=10", "model.variant=50"], "variant", "50"),
        (["model.name=alexnet", "model.num_classes=10", "model.initialization=2012"], "initialization", "2012"),
    ],
)
def test_text_that_looks_like_a_number_is_text_where_text_is_asked_for(flags, field, value):
    assert configs.load("configs/quickstart.py:mlp", flags).model[field] == value


@pytest.mark.parametrize("line, message", [("x = undefined", ":2: NameError: name 'undefined'"), ("x = (", ":2: ")])
def test_a_config_file_that_fails_is_named_with_its_line(tmp_path, line, message):
    (tmp_path / "bad.py").write_text(f"y = 1\n{line}\n")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'bad.py'}{message}")):
        configs.load(str(tmp_path / "bad.py"))
