"""A Transformer sees the whole image from its first layer on, a convolutional network does not.

Untrained: a token after one block must depend on every patch, an output of a convolution on k×k places only. Patches
make it affordable: an image of 224×224 pixels has 197 tokens as patches of 16×16, 50,177 as pixels, and 64,900 times as
many pairs. Trained, on C38's runs with the most examples: the middle of the first layer must depend on the whole image,
and of the convolutional network on its kernel. Heads must have come to look to different distances: the deviation of
their mean distances must have grown since the start. (That it is above the 0 of uniform attention, as could be asked,
no network can fail.) And the ViT's layers must be more alike: the deviation of CKA between neighbouring layers must be
lower than the convolutional network's, of as many layers: what enters the first block, and each block, against
convolutions and layers before their activation, or a stem and blocks. Small: LeNet. Full: a residual network, CIFAR-10.

Raghu et al. (2021) found ViT's representations more uniform over depth, with global information early, and heads that
look nearby in the lowest layers only after enough pre-training.
"""

import numpy

SECTION = "Vision"
SENTENCE = (
    "But in transformers, with self-attention, even the very first layer of information processing makes connections "
    "between distant image locations"
)
SMALL = {"data": ":embedded", "match": "parameters", "fraction": "0.695894", "kernel": 5, "size": 16}
SMALL |= {"cnn": ("c1", "c3", "c5", "f6"), "blocks": 3}
FULL = {"data": "", "match": "flops", "fraction": "1.000000", "kernel": 3, "size": 32}
FULL |= {"cnn": ("stem", *(f"stage_{s}_block_{b}" for s in range(3) for b in range(2))), "blocks": 6}


def run(lab):
    yield from untrained(lab)
    scale = FULL if lab.scale == "full" else SMALL
    study = train(lab, scale)
    layers = {"cnn": scale["cnn"], "vit": ("positions", *(f"blocks/layer_{n}" for n in range(scale["blocks"])))}

    seen = {
        name: shares(lab, study, name, layer) for name, layer in (("cnn", layers["cnn"][0]), ("vit", layers["vit"][1]))
    }
    part = scale["kernel"] ** 2 / scale["size"] ** 2
    yield lab.near("part of the image that the ViT's first block sees, trained, the least", min(seen["vit"]), 1, 1e-6)
    yield lab.near("part of the image that the first convolution sees, trained, the most", max(seen["cnn"]), part, 1e-6)

    before, after = (lab.probe(study, "vit", "attention_distance", trained=trained) for trained in (False, True))
    spread = "test/attention_distance_spread"
    grown = [after[seed][spread] - before[seed][spread] for seed in sorted(after)]
    yield lab.exceeds("deviation of heads' distances, trained less untrained", grown, 0, " patches")

    cka = {name: lab.probe(study, name, "cka", layers=layers[name]) for name in layers}
    spread = "test/cka_adjacent_spread"
    uneven = [cka["cnn"][seed][spread] - cka["vit"][seed][spread] for seed in sorted(cka["vit"])]
    yield lab.exceeds("deviation of CKA between neighbouring layers, CNN less ViT", uneven, 0)
    show(lab, layers, cka, before, after)


def untrained(lab):
    block = lab.part("block.Block", {"x": (197, 32)}, num_heads=4, mlp_size=64)
    seen = block.support(block.variables(), (98, 0), **block.example()) > 0
    yield lab.equal("of 197 tokens, those that one depends on after one block", int(seen.sum()), 197)
    for kernel in (3, 5):
        convolution = lab.layer("Conv", (14, 14, 32), features=32, kernel_size=(kernel, kernel), padding="SAME")
        seen = convolution.support(convolution.variables(), (7, 7, 0), **convolution.example()) > 0
        yield lab.equal(
            f"of 14×14 places, those that one depends on after a {kernel}×{kernel}", int(seen.sum()), kernel**2
        )
    tokens = {size: tokens_of_vit(lab, size) for size in (16, 1)}
    yield lab.equal("tokens of 224×224 pixels in patches of 16×16", tokens[16], 197, "paper")
    yield lab.equal("tokens of 224×224 pixels, one by one", tokens[1], 50_177, "paper")
    pairs = {size: operations(lab, count) for size, count in tokens.items()}
    yield lab.near("times as many operations for pairs of pixels", pairs[1] / pairs[16], 64_900, 100, "paper")


def tokens_of_vit(lab, patch_size):
    vit = lab.architecture(
        "vit", {"image": (224, 224, 3)}, num_classes=10, patch_size=patch_size, hidden_size=8, num_layers=1, num_heads=1
    )
    return vit.tree["positions/embedding"][0]


def operations(lab, tokens):
    """Of what one attention does with pairs."""
    attention = lab.part(
        "attention.MultiHeadAttention", {"x": (tokens, 64)}, num_heads=1, mixer_kwargs={"kernel": "plain"}
    )
    return attention.matmul_flops_inside("mixer")


def train(lab, scale):
    fraction = f"data.train_fraction={scale['fraction']}"
    variants = {name: lab.load(f"configs/few_images.py:{name}{scale['data']}", fraction) for name in ("cnn", "vit")}
    return lab.train("most examples", variants, axis=("model",), match=scale["match"], reference="cnn")


def shares(lab, study, name, layer):
    """Part of the image that the middle of a layer depends on, one for each seed."""
    found = lab.probe(study, name, "receptive_field", layers=(layer,))
    return [numbers[f"test/receptive_field_share/{layer.replace('/', '.')}"] for numbers in found.values()]


def show(lab, layers, cka, before, after):
    rows = []
    for name, paths in layers.items():
        dotted = [path.replace("/", ".") for path in paths]
        for first, second in zip(dotted, dotted[1:], strict=False):
            rows.append([name, f"{first}, {second}", f"{mean(cka[name], f'test/cka/{first}/{second}'):.3f}"])
        names = [path.rpartition(".")[2] for path in dotted]
        lab.heat(f"CKA between the layers of the {name}", names, alike(cka[name], dotted), "Mean over seeds.")
    lab.table("CKA between neighbouring layers, mean over seeds", ("network", "layers", "CKA"), rows)
    heads = [name for name in next(iter(after.values())) if "/head_" in name]
    rows = [[name.split("/", 2)[2], f"{mean(before, name):.2f}", f"{mean(after, name):.2f}"] for name in heads]
    lines = {
        name: {number: [found[seed][head] for seed in sorted(found)] for number, head in enumerate(heads, 1)}
        for name, found in (("untrained", before), ("trained", after))
    }
    lab.lines("How far heads look, in patches", "head, from the first layer to the last", lines)
    uniform = f"{mean(after, 'test/attention_distance_uniform'):.2f}"
    rows.append(["uniform attention", uniform, uniform])
    lab.table("How far heads look, in patches, mean over seeds", ("head", "untrained", "trained"), rows)


def alike(by_seed, names):
    """CKA of every two layers, mean over seeds; 1 of each with itself."""
    values = numpy.eye(len(names))
    for row, column in zip(*numpy.triu_indices(len(names), 1), strict=True):
        values[row, column] = values[column, row] = mean(by_seed, f"test/cka/{names[row]}/{names[column]}")
    return values


def mean(by_seed, name):
    return float(numpy.mean([numbers[name] for numbers in by_seed.values()]))
