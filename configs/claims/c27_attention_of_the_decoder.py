"""Self-attention is in the encoder, and cross-attention in the decoder.

If the sentence is right, the decoder has no self-attention. By Vaswani et al. (2017, section 3.1) each of its layers
has one, which sees the target so far. Counted on the published `base`, and differentiated on a small one: a
logit has gradient exactly 0 at every later token of the target, and another at all the rest, and at the whole source.
"""

import numpy as np

SECTION = "Transformers"
SENTENCE = "Self attention is in the encoder. … Cross attention is in the decoder."
TOKENS = 12


def run(lab):
    base = lab.architecture(
        "transformer", {"source": (30,), "target": (30,)}, source_vocab_size=37_000, target_vocab_size=37_000
    )
    own = {side: layers_with(base, side, "attention") for side in ("encoder", "decoder")}
    cross = {side: layers_with(base, side, "cross_attention") for side in ("encoder", "decoder")}
    lab.table(
        "Layers of the Transformer with",
        ("", "self-attention", "cross-attention"),
        [[side, own[side], cross[side]] for side in own],
    )
    yield lab.equal("layers of the encoder with self-attention", own["encoder"], 6)
    yield lab.equal("layers of the decoder with cross-attention", cross["decoder"], 6)
    yield lab.equal("layers of the decoder with self-attention", own["decoder"], 0)
    yield lab.equal("layers of the decoder with self-attention, by the paper", own["decoder"], 6, "paper")

    small = lab.architecture(
        "transformer",
        {"source": (TOKENS,), "target": (TOKENS,)},
        source_vocab_size=20,
        target_vocab_size=20,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        mlp_size=64,
    )
    variables, inputs = small.variables(), small.example(high=20)
    every_place = (slice(None), 0)
    target = small.support_inside(variables, "target_positions", every_place, **inputs)
    source = small.support_inside(variables, "source_positions", every_place, **inputs)
    later = np.triu(np.ones((TOKENS, TOKENS), bool), 1)
    yield lab.equal("largest gradient of a logit at a later token of the target", target[later].max(), 0, "paper")
    yield lab.above("smallest gradient of a logit at a token of the target so far", target[~later].min(), 0, "paper")
    yield lab.above("smallest gradient of a logit at a token of the source", source.min(), 0, "paper")


def layers_with(subject, side, kind):
    """How many layers of a side have a query of this kind of attention."""
    return sum(path.startswith(f"{side}/") and path.endswith(f"/{kind}/query/kernel") for path in subject.tree)
