"""Attention costs O(T² d) for a sentence of T words, and recurrence grows only linearly.

Both are exact: counted from T = 256 to 4,096, the products within attention grow with exponent 2 and those of a
recurrent network with exponent 1. In the article's example of T = 30 and d = 1,000 one product of attention takes
T² d = 900,000 multiply-adds. What it leaves out is the rest of the layer: with perceptrons four times as wide,
attention is T / (6d + T) of what a layer multiplies, 0.5 % in that example, and one half only at T = 6d. And a
recurrent network costs O(T d²), more than attention as long as T < d.

At the full scale a forward and backward pass of attention is timed from 512 to 16,384 words, and its memory taken from
the compiled program: with all pairs at once, memory must grow with an exponent of at least 1.8; with the kernel that
works through them in pieces, of at most 1.2, though operations remain as many.
"""

SECTION = "Drawbacks of Transformers Compared to RNNs/GRUs/LSTMs"
SENTENCE = (
    "The runtime of Transformer architecture is quadratic in the length of the input sequence … O(T² d), where T is "
    "the sequence length, and d is the dimensionality. Note that for recurrent models, it only grew linearly!"
)
LENGTHS = (256, 512, 1024, 2048, 4096)
WIDTH = 64


def run(lab):
    layers = {length: layer(lab, length, WIDTH) for length in LENGTHS}
    attention = [layers[length].matmul_flops_inside("attention/mixer") for length in LENGTHS]
    recurrent = [network(lab, length, WIDTH).matmul_flops for length in LENGTHS]
    yield lab.near("exponent of the operations of attention", lab.exponent(LENGTHS, attention), 2, 0.02)
    yield lab.near("exponent of the operations of a recurrent network", lab.exponent(LENGTHS, recurrent), 1, 0.02)

    lines = {"attention": attention, "recurrent network": recurrent}
    lines = {name: dict(zip(LENGTHS, counts, strict=True)) for name, counts in lines.items()}
    lab.lines(f"Operations by length, d = {WIDTH}", "T", lines, log="xy")

    # Two products, of queries with keys and of weights with values; a multiply-add is two operations.
    product = layer(lab, 30, 1000).matmul_flops_inside("attention/mixer") / 2 / 2
    yield lab.equal("multiply-adds of a product of attention at T = 30, d = 1,000", product, 900_000)

    rows, furthest = [], 0
    for length, width in ((30, 1000), (512, 768), (512, 1000), (4096, 1000), (6000, 1000), (384, 64)):
        share = share_of_attention(lab, length, width)
        formula = length / (6 * width + length)
        furthest = max(furthest, abs(share / formula - 1))
        cheaper = layer(lab, length, width).matmul_flops_inside("attention/mixer") / recurrence(lab, length, width)
        rows.append([length, width, f"{share:.2%}", f"{formula:.2%}", cheaper])
    yield lab.below("deviation of attention's share of a layer from T / (6d + T)", furthest, 0.02)
    example = share_of_attention(lab, 30, 1000)
    yield lab.near("attention's share of a layer at T = 30, d = 1,000", example, 0.005, 0.0001)
    header = ("T", "d", "share of attention", "T / (6d + T)", "attention over recurrence")
    lab.table("Operations of attention in a layer", header, rows)
    lab.table(
        f"Operations by length, d = {WIDTH}",
        ("T", "attention", "whole layer", "recurrent network"),
        [[length, attention[i], layers[length].matmul_flops, recurrent[i]] for i, length in enumerate(LENGTHS)],
    )
    if lab.scale == "full":
        yield from at_full_scale(lab)


def at_full_scale(lab):
    """Checks how memory grows, and shows times."""
    lengths = (512, 1024, 2048, 4096, 8192, 16384)
    names = {"plain": "all pairs at once", "chunked": "pairs in pieces"}
    parts = {(kernel, length): kernel_of(lab, kernel, length) for kernel in names for length in lengths}
    memory = {kernel: [parts[kernel, length].memory() for length in lengths] for kernel in names}
    times = {kernel: [1000 * parts[kernel, length].seconds() for length in lengths] for kernel in names}
    exponents = {kernel: lab.exponent(lengths, memory[kernel]) for kernel in names}
    yield lab.above("exponent of the memory of attention, all pairs at once", exponents["plain"], 1.8)
    yield lab.below("exponent of the memory of attention, pairs in pieces", exponents["chunked"], 1.2)
    rows = [
        [name, length, memory[kernel][i] / 2**20, times[kernel][i]]
        for kernel, name in names.items()
        for i, length in enumerate(lengths)
    ]
    lab.table("Forward and backward, 4 heads of 64", ("attention", "T", "MiB", "milliseconds"), rows)
    lines = {name: dict(zip(lengths, memory[kernel], strict=True)) for kernel, name in names.items()}
    lab.lines("Memory by length, bytes", "T", lines, log="xy")


def kernel_of(lab, kernel, length):
    fields = {"num_heads": 4, "mixer_kwargs": {"kernel": kernel}}
    return lab.part("attention.MultiHeadAttention", {"x": (length, 256)}, **fields)


def layer(lab, length, width):
    """A layer with 8 heads and perceptrons four times as wide as it, that looks at all pairs in one product."""
    return lab.part(
        "block.Block",
        {"x": (length, width)},
        num_heads=8,
        mlp_size=4 * width,
        mixer_kwargs={"kernel": "plain"},
    )


def share_of_attention(lab, length, width):
    """Of the operations of a layer, those whose number is the square of its length."""
    whole = layer(lab, length, width)
    return whole.matmul_flops_inside("attention/mixer") / whole.matmul_flops


def network(lab, length, width):
    return lab.architecture(
        "rnn", {"sequence": (length, width)}, num_classes=None, cell="simple", outputs="all", hidden_size=width
    )


def recurrence(lab, length, width):
    """Operations of a simple recurrent network as wide as its input."""
    return network(lab, length, width).matmul_flops
