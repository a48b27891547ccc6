"""Synthesizer, Linformer, Performer and BigBird do without computing all pairs of words.

Three of them do: from 16 times their k, features or block on, the operations of what mixes the words grow with
exponent 1. The Synthesizer does not compare words, but it still has a weight for each pair and sums values with it,
T × T: exponent 2, as of full attention. Counted from T = 256 to 4,096 with k = features = block = 16, without the
projections that all have. To the letter, all four have an exponent of at most 1.1; amended, the other three.
"""

SECTION = "Drawbacks of Transformers Compared to RNNs/GRUs/LSTMs"
SENTENCE = (
    "Recent studies such as: Synthesizer … Linformer … Performers … Big Bird … show that decent performance levels can "
    "be achieved without computing interactions between all word-pairs"
)
LENGTHS = (256, 512, 1024, 2048, 4096)
SMALL = 16
LINEAR = {
    "linformer": {"projection_size": SMALL, "made_for_length": True},
    "performer": {"num_features": SMALL},
    "bigbird": {"block_size": SMALL},
}
NAMES = {"dense": "full attention", "linformer": "Linformer", "performer": "Performer", "bigbird": "BigBird"}


def run(lab):
    costs = {"dense": operations(lab, "dense", kernel="plain")}
    for kind in ("dense", "random", "factorized_random"):
        costs[f"Synthesizer, {kind.replace('_', ' ')}"] = operations(
            lab, "synthesizer", made_for_length=True, kind=kind
        )
    costs |= {mixer: operations(lab, mixer, **kwargs) for mixer, kwargs in LINEAR.items()}
    exponents = {name: lab.exponent(LENGTHS, counts) for name, counts in costs.items()}

    yield lab.near("exponent of full attention", exponents["dense"], 2, 0.1, "amended")
    for name in costs:
        if name.startswith("Synthesizer"):
            yield lab.below(f"exponent of {name}", exponents[name], 1.1)
            yield lab.near(f"exponent of {name}", exponents[name], 2, 0.1, "amended")
    for mixer in LINEAR:
        yield lab.below(f"exponent of {NAMES[mixer]}", exponents[mixer], 1.1)
        yield lab.near(f"exponent of {NAMES[mixer]}", exponents[mixer], 1, 0.1, "amended")
    header = ("", *(f"T = {length:,}" for length in LENGTHS), "exponent")
    rows = [[NAMES.get(name, name), *counts, f"{exponents[name]:.3f}"] for name, counts in costs.items()]
    lab.table("Operations of what mixes the words", header, rows)
    drawn = NAMES | {"Synthesizer, dense": "Synthesizer"}
    lines = {
        f"{short}: {exponents[name]:.2f}": dict(zip(LENGTHS, costs[name], strict=True)) for name, short in drawn.items()
    }
    lab.lines("Operations by length, with exponents", "T", lines, log="xy")


def operations(lab, mixer, made_for_length=False, **fields):
    """Of one attention of width 64 with 4 heads at each length, within the mixer, which some must know beforehand."""
    return [
        lab.part(
            "attention.MultiHeadAttention",
            {"x": (length, 64)},
            num_heads=4,
            mixer=mixer,
            mixer_kwargs=fields | ({"max_length": length} if made_for_length else {}),
        ).matmul_flops_inside("mixer")
        for length in LENGTHS
    ]
