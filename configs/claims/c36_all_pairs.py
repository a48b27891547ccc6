"""Synthesizer, Linformer, Performer and BigBird do without computing all pairs of words.

Three of them do: from 16 times their k, features or block on, the operations of what mixes the words grow with
exponent 1. The Synthesizer does not compare words, but it still has a weight for each pair and sums values with it,
T × T: exponent 2, as of full attention. Counted from T = 256 to 4,096 with k = features = block = 16, without the
projections that all have. To the letter, all four have an exponent of at most 1.1; amended, the other three.

At the full scale the encoder of the Long Range Arena's texts is timed, forwards and backwards, on batches of 32 texts
of 1,024 to 4,096 bytes. Tay et al. (2020, Table 2) print that at 4,096 a step with Linformer or Performer takes less
than a fifth of full attention's time, and with BigBird about as long; here, the first two must be at least 3 times as
fast, and BigBird at most twice.
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
BYTES = 256
ARENA = {
    "dense": {"kernel": "plain"},
    "linformer": {"projection_size": 256},
    "performer": {"num_features": 256},
    "bigbird": {"block_size": 64},
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
    if lab.scale == "full":
        yield from at_full_scale(lab)


def at_full_scale(lab):
    """Checks how fast an encoder is, and shows its memory."""
    lengths, batch = (1024, 2048, 3072, 4096), 32
    encoders = {(mixer, length): encoder(lab, mixer, length) for mixer in ARENA for length in lengths}
    seconds = {key: one.seconds(batch, high=BYTES) for key, one in encoders.items()}
    gigabytes = {key: one.memory(batch) / 1e9 for key, one in encoders.items()}
    faster = {mixer: seconds["dense", 4096] / seconds[mixer, 4096] for mixer in ARENA}
    for mixer in ("linformer", "performer"):
        yield lab.above(f"speed with {NAMES[mixer]} at T = 4,096, of full attention's", faster[mixer], 3, "paper")
    yield lab.below("speed with BigBird at T = 4,096, of full attention's", faster["bigbird"], 2, "paper")
    header = ("", *(f"T = {length:,}" for length in lengths))
    of_dense = {mixer: [seconds["dense", length] / seconds[mixer, length] for length in lengths] for mixer in ARENA}
    lab.table("Speed, of full attention's", header, [[NAMES[mixer], *row] for mixer, row in of_dense.items()])
    rows = [[NAMES[mixer], *(gigabytes[mixer, length] for length in lengths)] for mixer in ARENA]
    lab.table(f"Memory, GB, batch of {batch}", header, rows)


def encoder(lab, mixer, length):
    """Of the arena's texts; how much the mixers are given, k = features = 256 and blocks of 64, was chosen here."""
    kwargs = ARENA[mixer] | ({"max_length": length + 1} if mixer == "linformer" else {})
    fields = {"max_length": length, "mixer": mixer, "mixer_kwargs": kwargs, "dropout_rate": 0.0}
    return lab.architecture("encoder", {"tokens": (length,)}, variant="text", vocab_size=BYTES, num_classes=2, **fields)


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
