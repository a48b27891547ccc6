"""Fully connected networks are weaker than networks made for the structure of a problem.

A convolutional network against an MLP of as many parameters (its two layers are sized for that, within 2 %), all other
settings equal. Small: scikit-learn's digits anywhere on a canvas of 24×24 pixels, which meets at its edges, and LeNet;
it must be ahead by more than 10 points. Full: CIFAR-10 without augmentation, and a residual network; more than 15.

The nearest published gap is of gray CIFAR-10 as sequences of pixels: 89.2 % of a wide residual network, 42.4 % of a
Transformer (Long Range Arena, appendix A.2), which is no fully connected network.
"""

SECTION = "Fully Connected Networks"
SENTENCE = (
    "such networks do tend to have weaker performance than special-purpose networks tuned to the structure of a "
    "problem space"
)
CANVAS = ("data.source.name=moving_digits", "data.source.frames=1", "data.source.label=digit", "data.source.canvas=24")
SMALL = (*CANVAS, "data.image_size=24", "model.dropout_rate=0.1", "optimizer.learning_rate=3e-3", "steps=600")
CIFAR = ("data.source.name=tfds", "data.source.dataset=cifar10", "data.image_size=32", "data.batch_size=128")
FULL = (*CIFAR, "optimizer.learning_rate=1e-3", "evaluators.accuracy.every=1000", "steps=16000")
RESNET: tuple[str, ...] = ("model.name=resnet", "model.block=basic", "model.stem=small", "model.stage_sizes=(2, 2, 2)")
RESNET += ("model.hidden_sizes=(64, 128, 256)", "model.stage_strides=(1, 2, 2)")


def run(lab):
    if lab.scale == "full":
        threshold, special = 15, "resnet"
        variants = {special: lab.load("configs/quickstart.py:mlp", *RESNET, *FULL)}
        variants["mlp"] = lab.load("configs/quickstart.py:mlp", *FULL)
    else:
        threshold, special = 10, "lenet"
        variants = {name: lab.load(f"configs/quickstart.py:{name}", *SMALL) for name in (special, "mlp")}
    study = lab.train("equal parameters", variants, axis=("model",), match="parameters", reference=special)
    ahead = [100 * value for value in lab.differences(study, "test/accuracy", special, "mlp")]
    yield lab.exceeds(f"accuracy, {special} less mlp", ahead, threshold, " points")
    rows = [[name, f"{mean(study, name):.2f} %"] for name in variants]
    lab.table("Test accuracy, mean over seeds", ("network", "accuracy"), [*rows, ["chance", "10 %"]])


def mean(study, variant):
    values = list(study.values("test/accuracy", variant).values())
    return 100 * sum(values) / len(values)
