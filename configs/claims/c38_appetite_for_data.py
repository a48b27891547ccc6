"""Transformers need far more data than convolutional networks.

A convolutional network and a Vision Transformer at an equal budget, on three numbers of examples, with as many updates
each and all other settings equal: the convolutional network must be ahead with the fewest, and by less with the most.
Small: LeNet and a ViT of as many parameters on 100, 300 and 1,000 of scikit-learn's digits, 16×16 pixels. Full: a
residual network and a ViT of as many operations on 500, 5,000 and 50,000 images of CIFAR-10.

Where the curves cross is beyond such data: on ImageNet's 1.3 million images ViT-B/16 reaches 77.91 %, after JFT's 300
million 84.15 %, and with 9 million of those its smaller sister B/32 is "much worse" than a ResNet-50 (Dosovitskiy et
al., 2020).
"""

SECTION = "Drawbacks of Transformers Compared to RNNs/GRUs/LSTMs"
SENTENCE = "Compared to CNNs, the data appetite of transformers is obscenely high."
SMALL = {"data": ":embedded", "match": "parameters", "examples": (100, 300, 1_000), "of": 1_437}
FULL = {"data": "", "match": "flops", "examples": (500, 5_000, 50_000), "of": 50_000}


def run(lab):
    scale = FULL if lab.scale == "full" else SMALL
    studies = {count: train(lab, scale, count) for count in scale["examples"]}
    gaps = {count: points(lab, study) for count, study in studies.items()}
    few, *_, many = scale["examples"]
    closed = [first - last for first, last in zip(gaps[few], gaps[many], strict=True)]
    yield lab.exceeds(f"accuracy with {few:,} examples, CNN less ViT", gaps[few], 0, " points")
    yield lab.exceeds(f"by how much less the CNN is ahead with {many:,} examples", closed, 0, " points")
    lines = {name: {count: values(study, name) for count, study in studies.items()} for name in ("cnn", "vit")}
    rows = [[f"{count:,}", *(percent(line[count]) for line in lines.values())] for count in studies]
    lab.table("Test accuracy, mean over seeds", ("examples", "cnn", "vit"), [*rows, ["chance", "10 %", "10 %"]])
    lab.lines("Test accuracy by number of examples", "examples", lines, percent=True, log="x")


def train(lab, scale, count):
    fraction = f"data.train_fraction={count / scale['of']:.6f}"
    variants = {name: lab.load(f"configs/few_images.py:{name}{scale['data']}", fraction) for name in ("cnn", "vit")}
    return lab.train(f"{count:,} examples", variants, axis=("model",), match=scale["match"], reference="cnn")


def points(lab, study):
    return [100 * value for value in lab.differences(study, "test/accuracy", "cnn", "vit")]


def values(study, variant):
    return list(study.values("test/accuracy", variant).values())


def percent(shares):
    return f"{100 * sum(shares) / len(shares):.2f} %"
