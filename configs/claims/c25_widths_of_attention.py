"""In the Transformer, queries, keys and values are 64 wide, and what goes in and out of a layer 512.

True of each of the 8 heads; together the heads are as wide as the layer. To the letter, all of a query is 64 wide;
amended, a head's part of it. Exact: however many heads share the 512, attention has 4 · 512² = 1,048,576 weights.
"""

SECTION = "Transformers"
SENTENCE = (
    "The dimension of the Q, K, V matrices is 64 while the embeddings and encoder input/output vectors have dimension "
    "of 512"
)
WIDTH = 512
PROJECTIONS = ("query", "key", "value")


def run(lab):
    base = lab.architecture(
        "transformer",
        {"source": (30,), "target": (30,)},
        variant="base",
        source_vocab_size=37_000,
        target_vocab_size=37_000,
    )
    shapes = {name: base.tree[f"encoder/layer_0/attention/{name}/kernel"] for name in PROJECTIONS}
    yield lab.equal("width of what a layer reads", shapes["query"][0], WIDTH)
    for name, (_, heads, width) in shapes.items():
        yield lab.equal(f"width of a {name}, all heads together", heads * width, 64)
        yield lab.equal(f"width of a {name} in one of {heads} heads", width, 64, "amended")

    rows = []
    for heads in (2**power for power in range(10)):
        attention = lab.part("attention.MultiHeadAttention", {"x": (30, WIDTH)}, num_heads=heads, use_bias=False)
        rows.append([heads, attention.tree["query/kernel"][2], attention.parameters])
    same = sum(weights == 4 * WIDTH**2 for _, _, weights in rows)
    yield lab.equal("pairs of heads and width with 4 · 512² weights", same, len(rows), "amended")
    lab.table("Weights of attention", ("heads", "width of a head", "weights"), rows)
