"""Overall, a Transformer needs more computation than its competitors for its accuracy.

Judged by the frontier, not by one point: the best test accuracy that an architecture reaches within a number of
operations of training, over all its runs and all their evaluations. For each seed and each number of examples the best
accuracy that both reach is the goal; a Vision Transformer must need more operations to reach it than a convolutional
network. The runs are those of C38, and of a second, narrower ViT: where the first has as many parameters as the
convolutional network, this one has as many operations, and the other way round. So the ViT has two sizes to choose
from, its competitor one, which favours the ViT. An update costs three forward passes.

More data is what C38 asks. Equal parameters are equal memory for weights and optimizer; that of activations is not
measured. At large scale the papers print the opposite: ViT needs "2–4× less compute" than ResNets for the same
accuracy, and is "clearly more memory-efficient" (Dosovitskiy et al., 2020, on 300 million images); CLIP's ViTs are
"about 3x more compute efficient" (Radford et al., 2021). Nothing here is of that size.
"""

import math

import numpy

SECTION = "Drawbacks of Transformers Compared to RNNs/GRUs/LSTMs"
SENTENCE = (
    "Overall, a transformer requires higher computational power, more data, power/battery life, and memory footprint, "
    "for it to offer better performance (in terms of say, accuracy) compared to its conventional competitors."
)
SMALL = {"data": ":embedded", "match": ("parameters", "flops"), "examples": (100, 300, 1_000), "of": 1_437}
FULL = {"data": "", "match": ("flops", "parameters"), "examples": (500, 5_000, 50_000), "of": 50_000}


def run(lab):
    scale = FULL if lab.scale == "full" else SMALL
    rows = []
    for count in scale["examples"]:
        cnn, vit = frontiers(lab, scale, count)
        goals = {seed: min(cnn[seed].best, vit[seed].best) for seed in cnn}
        needed = [[frontier[seed].needed(goal) for frontier in (cnn, vit)] for seed, goal in goals.items()]
        tenfold = [math.log10(of_vit / of_cnn) for of_cnn, of_vit in needed]
        what = f"powers of ten by which the ViT needs more operations for the same accuracy, {count:,} examples"
        yield lab.exceeds(what, tenfold, 0)
        reached = [percent([frontier[seed].best for seed in frontier]) for frontier in (cnn, vit)]
        rows.append([f"{count:,}", percent(list(goals.values())), *numpy.mean(needed, axis=0).tolist(), *reached])
    header = ("examples", "goal", "operations of the CNN", "of the ViT", "best accuracy of the CNN", "of the ViT")
    lab.table("What both reach, and what it costs: means over seeds", header, rows)


def frontiers(lab, scale, count):
    """Of both architectures, by seed."""
    studies = {
        name: train(lab, scale, count, name, match)
        for name, match in zip(("vit", "vit_narrow"), scale["match"], strict=True)
    }
    cnn = lab.frontiers([(studies["vit"], "cnn")], "test/accuracy")
    return cnn, lab.frontiers([(study, name) for name, study in studies.items()], "test/accuracy")


def train(lab, scale, count, name, match):
    fraction = f"data.train_fraction={count / scale['of']:.6f}"
    variants = {one: lab.load(f"configs/few_images.py:{one}{scale['data']}", fraction) for one in ("cnn", name)}
    study = f"{count:,} examples, equal {match}"
    return lab.train(study, variants, axis=("model",), match=match, reference="cnn")


def percent(values):
    return f"{100 * numpy.mean(values):.2f} %"
