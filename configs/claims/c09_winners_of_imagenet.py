"""Convolutional networks are better for images, since they won ImageNet ever since AlexNet.

Who won says little: the challenge ended in 2017, before there was a Vision Transformer. So it is asked of the runs of
C38 and C40: with every number of examples, and within every number of operations of training from the least at which
both have been evaluated to the most of any run, the best test accuracy of the convolutional network must be above that
of the ViT, which has two sizes to choose from. Six budgets, each a constant factor above the one before. Small:
scikit-learn's digits. Full: CIFAR-10.

With more data ViT overtakes: B/16 reaches 77.91 % on ImageNet alone, 84.15 % after JFT's 300 million images; after
these, L/16 reaches 87.76 % for 680 core-days, and the residual network BiT-L 87.54 % for 9,900 (Dosovitskiy et al.,
2020). Such data are out of reach here, so a verdict is of small data only.
"""

import numpy

SECTION = "Pros of CNNs Compared to FCNs"
SENTENCE = (
    "The sole fact that since AlexNet won the ImageNet competition, every neural network that has won it has used CNNs "
    "should be enough to convince you that CNNs are better for image data!"
)
SMALL = {"data": ":embedded", "match": ("parameters", "flops"), "examples": (100, 300, 1_000), "of": 1_437}
FULL = {"data": "", "match": ("flops", "parameters"), "examples": (500, 5_000, 50_000), "of": 50_000}
BUDGETS = 6


def run(lab):
    scale = FULL if lab.scale == "full" else SMALL
    for count in scale["examples"]:
        cnn, vit = frontiers(lab, scale, count)
        rows, lines = [], {"cnn": {}, "vit": {}}
        for budget in budgets(cnn, vit):
            within = [[frontier[seed].within(budget) for seed in sorted(frontier)] for frontier in (cnn, vit)]
            ahead = [100 * (one - other) for one, other in zip(*within, strict=True)]
            what = f"accuracy within {budget:.2g} operations, CNN less ViT, {count:,} examples"
            yield lab.exceeds(what, ahead, 0, " points")
            lines["cnn"][budget], lines["vit"][budget] = within
            rows.append([f"{budget:.2g}", *(f"{100 * numpy.mean(values):.2f} %" for values in within)])
        header = ("operations of training", "cnn", "vit")
        lab.table(f"Best test accuracy within a budget, mean over seeds, {count:,} examples", header, rows)
        lab.lines(f"Accuracy within a budget, {count:,} examples", header[0], lines, percent=True, log="x")


def budgets(*competitors):
    """From where both have a point to the last point of all; the same for every seed, since steps and sizes are."""
    of_one_seed = [next(iter(frontiers.values())) for frontiers in competitors]
    first, last = max(one.first for one in of_one_seed), max(one.last for one in of_one_seed)
    return numpy.geomspace(first, last, BUDGETS) * (1 + 1e-9)  # Rounding must not leave out the points at the ends.


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
