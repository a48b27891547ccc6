"""ResNet-50 has 23 million parameters, and Inception v3 has 21 million.

The whole networks have 25,557,032 and 27,161,264 (23,834,568 without the auxiliary classifier); the article's numbers
are those of the networks without classifiers, 23,508,032 and 21,785,568, cut to millions. To the letter, "has" means
the whole network; amended, the network without classifiers.
"""

SECTION = "Pros of CNNs Compared to FCNs"
SENTENCE = "ResNet50 has 23M params, InceptionV3 has 21M parameters"


def millions(count):
    return count // 10**6


def run(lab):
    resnet = lab.architecture("resnet", {"image": (224, 224, 3)}, variant="50", num_classes=1000)
    inception = lab.architecture("inception", {"image": (299, 299, 3)}, num_classes=1000)
    headless = {
        "ResNet-50": resnet.parameters - resnet.parameters_below("head/"),
        "Inception v3": inception.parameters - inception.parameters_below("head/", "auxiliary_head/"),
    }
    whole = {"ResNet-50": resnet.parameters, "Inception v3": inception.parameters}
    said = {"ResNet-50": 23, "Inception v3": 21}
    for name in said:
        yield lab.equal(f"millions of parameters of {name}", millions(whole[name]), said[name])
        yield lab.equal(
            f"millions of parameters of {name} without classifiers", millions(headless[name]), said[name], "amended"
        )
    yield lab.equal("parameters of ResNet-50", whole["ResNet-50"], 25_557_032, "paper")
    yield lab.equal("parameters of Inception v3", whole["Inception v3"], 27_161_264, "paper")
    rows = [[name, whole[name], headless[name], f"{said[name]}M"] for name in said]
    lab.table("Parameters", ("network", "whole", "without classifiers", "article"), rows)
