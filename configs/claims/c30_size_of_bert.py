"""BERT has 12 or 24 layers, 12 or 16 heads, and feed-forward networks of 768 or 1,024 units, against 512 before.

All but the last: 768, 1,024 and 512 are the widths of the hidden states; the feed-forward networks have 3,072, 4,096
and, in the Transformer, 2,048 units. Exact: with the pooler the published weights are 109,482,240 and 335,141,888
numbers, without it 108,891,648 and 334,092,288. If the sentence is right, networks with feed-forward layers of 768 and
1,024 units have as many.
"""

SECTION = "Transformers"
SENTENCE = (
    "Both BERT model sizes have a large number of encoder layers – twelve for the Base version, and twenty four for "
    "the Large version. These also have larger feedforward-networks (768 and 1024 hidden units respectively), and more "
    "attention heads (12 and 16 respectively) than the default configuration in the reference implementation of the "
    "Transformer in the initial paper (6 encoder layers, 512 hidden units, and 8 attention heads)."
)
SAID = {  # layers, heads, "feed-forward", and parameters with and without the pooler
    "base": (12, 12, 768, 109_482_240, 108_891_648),
    "large": (24, 16, 1024, 335_141_888, 334_092_288),
}


def run(lab):
    rows = []
    for name, (layers, heads, units, with_pooler, without_pooler) in SAID.items():
        bert = encoder(lab, name, pooler=True)
        found = shape_of(bert, "blocks")
        yield lab.equal(f"layers of {name}", found["layers"], layers)
        yield lab.equal(f"heads of {name}", found["heads"], heads)
        yield lab.equal(f"units of the feed-forward networks of {name}", found["units"], units)
        yield lab.equal(f"parameters of {name}", bert.parameters, with_pooler, "paper")
        yield lab.equal(f"parameters of {name} without pooler", encoder(lab, name).parameters, without_pooler, "paper")
        as_said = encoder(lab, name, pooler=True, mlp_size=units).parameters
        yield lab.equal(f"parameters of {name} with feed-forward networks of {units:,} units", as_said, with_pooler)
        rows.append([name, *found.values(), bert.parameters, as_said])

    transformer = lab.architecture(
        "transformer", {"source": (30,), "target": (30,)}, source_vocab_size=37_000, target_vocab_size=37_000
    )
    found = shape_of(transformer, "encoder")
    yield lab.equal("layers of the Transformer's encoder", found["layers"], 6)
    yield lab.equal("heads of the Transformer", found["heads"], 8)
    yield lab.equal("units of the feed-forward networks of the Transformer", found["units"], 512)
    rows.append(["Transformer", *found.values(), transformer.parameters, "–"])
    header = ("", "layers", "heads", "width", "feed-forward units", "parameters", "with the article's feed-forward")
    lab.table("Sizes", header, rows)


def encoder(lab, variant, **fields):
    return lab.architecture("bert", {"tokens": (512,), "token_types": (512,)}, variant=variant, head="none", **fields)


def shape_of(subject, blocks):
    """Layers, heads, width and feed-forward units, read off the parameters below `blocks`."""
    width, heads, _ = subject.tree[f"{blocks}/layer_0/attention/query/kernel"]
    layers = {path.split("/")[1] for path in subject.tree if path.startswith(f"{blocks}/")}
    units = subject.tree[f"{blocks}/layer_0/mlp/inner/kernel"][1]
    return {"layers": len(layers), "heads": heads, "width": width, "units": units}
