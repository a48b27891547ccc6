"""Input and output of a convolutional network have fixed sizes, those of a recurrent network have not.

One temporal convolutional network, made for 16 steps, is given up to 512. Were its sizes fixed, it would take one
length and put out one. A recurrent network must take them all. Neither may need other parameters. A convolution of
images is no different (C07): what fixes a size is a fully connected layer at the end.
"""

SECTION = "Pros of RNNs vs. CNNs"
SENTENCE = (
    "In CNNs, the size of the input and the resulting output are fixed. … In contrast, with RNNs … the size of the "
    "input and the resulting output may vary"
)
LENGTHS = (16, 32, 64, 128, 256, 512)


def run(lab):
    networks = {
        "convolutional": [sequences(lab, "tcn", length, num_layers=3, kernel_size=3) for length in LENGTHS],
        "recurrent": [sequences(lab, "rnn", length) for length in LENGTHS],
    }
    put_out = {name: output_lengths(row) for name, row in networks.items()}
    yield lab.equal("lengths that one convolutional network takes", len(put_out["convolutional"]), 1)
    yield lab.equal("lengths that one convolutional network puts out", len(set(put_out["convolutional"])), 1)
    yield lab.equal("lengths that one recurrent network takes", len(put_out["recurrent"]), len(LENGTHS))
    yield lab.equal("lengths that one recurrent network puts out", len(set(put_out["recurrent"])), len(LENGTHS))
    for name, row in networks.items():
        counts = {network.parameters for network in row}
        yield lab.equal(f"different sizes of the {name} network at these lengths", len(counts), 1)
    rows = [[name, row[0].parameters, ", ".join(map(str, put_out[name]))] for name, row in networks.items()]
    lab.table("Weights made for 16 steps", ("network", "parameters", "lengths put out"), rows)


def sequences(lab, name, length, **fields):
    inputs = {"sequence": (length, 8)}
    return lab.architecture(name, inputs, num_classes=4, hidden_size=16, outputs="all", **fields)


def output_lengths(networks):
    """The lengths of the outputs for the inputs that the weights made for the first of them take."""
    shapes = [networks[0].shape_for(one.spec) for one in networks]
    return [shape[1] for shape in shapes if shape]
