"""GPT is a decoder of 12 layers, 768 wide, with perceptrons of 3,072 units, over an alphabet of 40,000 merges.

Exact. With one vector for each of its 40,478 tokens and each of 512 positions, that makes 116,534,784 parameters, of
which each layer has 7,087,872; the count is that of the published weights. Merges belong to the tokenizer, which is no
part of the network: all that can be said of them here is that there are more tokens.
"""

SECTION = "Transformers"
SENTENCE = (
    "Pretrained decoder with 12 layers. 768 dimensional hidden states, 3072 dimensional feed forward hidden layers. "
    "Byte pair encoding with 40,000 merges"
)


def run(lab):
    gpt = lab.architecture("gpt", {"tokens": (512,)}, variant="gpt1")
    layers = sorted({path.split("/")[1] for path in gpt.tree if path.startswith("blocks/")})
    vocabulary, width = gpt.tree["embedding/embedding"]
    yield lab.equal("layers", len(layers), 12)
    yield lab.equal("width of hidden states", width, 768)
    yield lab.equal("units of a perceptron", gpt.tree["blocks/layer_0/mlp/inner/kernel"][1], 3072)
    yield lab.above("tokens, of which the merges are a part", vocabulary, 40_000)
    yield lab.equal("tokens", vocabulary, 40_478, "paper")
    yield lab.equal("parameters", gpt.parameters, 116_534_784, "paper")
    sizes = [gpt.parameters_below(f"blocks/{layer}/") for layer in layers]
    equal = sum(size == 7_087_872 for size in sizes)
    yield lab.equal("layers of 7,087,872 parameters", equal, 12, "paper")
    parts = {"words": "embedding/", "positions": "positions/", "layers": "blocks/"}
    rows = [[name, gpt.parameters_below(path)] for name, path in parts.items()]
    lab.table("Parameters of GPT", ("part", "parameters"), [*rows, ["all", gpt.parameters]])
