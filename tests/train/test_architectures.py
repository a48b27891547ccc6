"""Every architecture trains through the shared loop: a small one learns a few examples by heart."""

import pytest

import archs
from tests.train.runs import rows
from train import config as configs
from train import experiment, loop
from train.errors import UserError

DIGITS = "configs/quickstart.py:mlp"
STRINGS = "configs/transduction.py:bahdanau"
# Of each architecture: a config, and fields that make it small. Widths are tiny, so dropout is off.
RUNS = {
    "mlp": (DIGITS, ["model.hidden_sizes=16"]),
    "lenet": (DIGITS, ["data.image_size=16"]),
    "alexnet": (DIGITS, ["data.image_size=63", "model.hidden_sizes=(8, 8, 8, 8, 8)", "model.mlp_size=16"]),
    "vgg": (
        DIGITS,
        ["data.image_size=32", "model.variant=11", "model.hidden_sizes=(4, 8, 8, 8, 8)", "model.mlp_size=16"],
    ),
    "resnet": (DIGITS, ["model.variant=18", "model.hidden_sizes=(4, 4, 8, 8)", "model.stem=small"]),
    "inception": (DIGITS, ["data.image_size=299", "objective.auxiliary_weight=0.4"]),
    "convnet1d": (DIGITS, ["data.image_size=32", "model.variant=M5", "model.hidden_sizes=(8, 8, 8)"]),
    "tcn": (DIGITS, ["model.hidden_size=8", "model.num_layers=4", "model.kernel_size=3"]),
    "rnn": (DIGITS, ["model.hidden_size=16"]),
    "seq2seq": (STRINGS, ["model.hidden_size=16"]),
    "transformer": (
        STRINGS,
        [
            *("model.name=transformer", "model.hidden_size=16", "model.num_layers=1", "model.num_heads=2"),
            "model.mlp_size=16",
        ],
    ),
    "gpt": (
        STRINGS,
        [
            *("model.name=gpt", "model.vocab_size=10", "model.max_length=10", "model.num_layers=1"),
            *("model.hidden_size=16", "model.num_heads=2", "model.mlp_size=16", "objective.name=language_modeling"),
        ],
    ),
    "bert": (
        STRINGS,
        [
            *("model.name=bert", "model.vocab_size=11", "model.max_length=10", "model.num_layers=1"),
            *("model.hidden_size=16", "model.num_heads=2", "model.mlp_size=16"),
            *("objective.name=masked_language_modeling", "objective.mask_token=10", "objective.mask_rate=0.9"),
        ],
    ),
    "encoder": (
        DIGITS,
        [
            *("data.source.name=listops", "data.source.min_length=4", "data.source.max_length=9"),
            *("data.source.train_size=2000", "data.source.eval_size=10", "data.tokenizer.name=word"),
            *("data.layout.name=text", "data.layout.max_length=11", "model.num_layers=1", "model.hidden_size=16"),
            *("model.num_heads=2", "model.mlp_size=16"),
        ],
    ),
    "lrcn": (
        DIGITS,
        [
            *("data.source.name=moving_digits", "data.source.label=digit", "data.source.frames=3"),
            *("model.hidden_sizes=(4, 8)", "model.hidden_size=16", "model.frame_size=16"),
        ],
    ),
    "clip": (  # Similarities hardly differ at the start, so it begins slowly.
        "configs/captions.py:clip",
        [
            *("model.image_hidden_size=16", "model.text_hidden_size=16", "model.num_image_layers=1"),
            *("model.patch_size=4", "optimizer.learning_rate=0.001", "steps=60"),
        ],
    ),
    "fusion": ("configs/captions.py:cross_attention", ["model.num_layers=1", "model.patch_size=4"]),
    "graph_network": ("configs/communities.py:full", ["model.hidden_size=8"]),
    "vit": (
        DIGITS,
        ["model.patch_size=4", "model.hidden_size=16", "model.num_layers=1", "model.num_heads=2", "model.mlp_size=16"],
    ),
}
QUICK = {"mlp", "rnn", "tcn", "gpt"}  # One of each kind; others compile for longer.


def test_none_is_left_out():
    assert set(RUNS) == set(archs.names())


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n not in QUICK else []) for n in RUNS])
def test_a_few_steps_learn_a_few_examples(name, tmp_path):
    config, fields = RUNS[name]
    common = ["steps=12", "log_every=1", "data.batch_size=4", "data.train_fraction=0.002", "model.dropout_rate=0"]
    schedule = ["optimizer.schedule.warmup_steps=0", "optimizer.learning_rate=0.003", "checkpoint.every=None"]
    chosen = {
        DIGITS: [f"model.name={name}", "model.num_classes=10"],
        STRINGS: ["data.source.max_length=4"],
    }.get(config, [])
    if name in ("gpt", "bert"):
        chosen.append("data.source.layout=joined")
    run = configs.load(config, [*common, *schedule, *chosen, *fields])
    run.evaluators = {}
    loop.train(run, tmp_path)
    losses = [row["train/loss"] for row in rows(tmp_path) if "train/loss" in row]
    assert len(losses) == run.steps and losses[-1] < 0.95 * losses[0]


JOINED = ["data.source.layout=joined", "model.num_classes=10", "objective.name=language_modeling"]
SENSELESS = {
    "vectors for tokens": (DIGITS, ["model.name=rnn", "model.vocab_size=9"], "rnn cannot read sequence .* be tokens"),
    "tokens for vectors": (STRINGS, ["model.name=tcn", *JOINED], "tcn cannot read .*tokens .* be sequence alone"),
    "neither": (
        "configs/communities.py:full",
        ["model.name=rnn", "model.outputs=last"],
        "rnn cannot read .* the input must be sequence alone, and it is missing",
    ),
    "logits of one step": (
        STRINGS,
        ["model.name=rnn", "model.vocab_size=10", *JOINED],
        "language_modeling cannot judge rnn: the model gives .* outputs='all'",
    ),
    "the future": (
        STRINGS,
        ["model.name=rnn", "model.vocab_size=10", "model.outputs=all", "model.bidirectional=True", *JOINED],
        "language_modeling cannot judge rnn: the model sees the tokens .* rnn with bidirectional=False",
    ),
    "one text for two": (
        DIGITS,
        ["model.name=encoder", "model.vocab_size=256", "model.tower=two"],
        "encoder cannot read tokens .* there are no tokens_2; give pairs",
    ),
    "images for video": (DIGITS, ["model.name=lrcn"], "lrcn reads 'video', but the data .* give label, image"),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_data_that_an_architecture_cannot_read_are_named(case):
    config, fields, message = SENSELESS[case]
    with pytest.raises(UserError, match=rf"^config\.(model|objective): {message}") as error:
        experiment.build(configs.load(config, fields))
    assert "\n" not in str(error.value)
