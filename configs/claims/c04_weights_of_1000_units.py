"""A fully connected layer of 1,000 units on a 224×224×3 image has about 150 million weights.

Exact: 150,528,000, and 1,000 biases. "About" is taken as within 1 %.
"""

SECTION = "Pros of CNNs Compared to FCNs"
SENTENCE = "The number of weights in FC layer with 1000 neurons for 224×224×3 image is something like 150M."


def run(lab):
    weights = lab.layer("Dense", (224 * 224 * 3,), features=1000, use_bias=False).parameters
    yield lab.near("weights", weights, 150_000_000, 1_500_000)
    yield lab.equal("weights, exactly", weights, 150_528_000, "paper")
