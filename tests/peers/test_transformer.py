"""Transformer against PyTorch's nn.Transformer: logits and gradients, with a padded source, pre- and post-norm."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs.layers.stack import stack_layers, unstack_layers

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

WIDTH, HEADS, INNER, LAYERS, VOCABULARY = 16, 4, 24, 2, 9
RNG = np.random.default_rng(0)
SOURCE, TARGET = RNG.integers(VOCABULARY, size=(3, 6)), RNG.integers(VOCABULARY, size=(3, 5))
MASK = np.arange(6)[None] < np.array([[6], [4], [1]])


def build_peer(norm):
    """PyTorch adds a last norm to both stacks also after post-norm layers; the paper has none there."""
    options = {"dropout": 0.0, "norm_first": norm == "pre", "batch_first": True, "layer_norm_eps": 1e-6}
    last = [torch.nn.LayerNorm(WIDTH, eps=1e-6) if norm == "pre" else None for _ in range(2)]
    encoder = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, **options), LAYERS, last[0], enable_nested_tensor=False
    )
    decoder = torch.nn.TransformerDecoder(
        torch.nn.TransformerDecoderLayer(WIDTH, HEADS, INNER, **options), LAYERS, last[1]
    )
    peer = torch.nn.Transformer(WIDTH, HEADS, custom_encoder=encoder, custom_decoder=decoder, batch_first=True)
    for name, parameter in peer.named_parameters():
        if "attn" in name and "bias" in name:
            torch.nn.init.zeros_(parameter)  # ours has none
        elif "norm" in name:
            torch.nn.init.normal_(parameter, 1.0, 0.2)
    return peer


def attention(read, layer):
    kernels = read(layer.in_proj_weight).reshape(3, HEADS, WIDTH // HEADS, WIDTH).transpose(0, 3, 1, 2)
    params = {name: {"kernel": kernel} for name, kernel in zip(("query", "key", "value"), kernels, strict=True)}
    return {**params, "output": {"kernel": read(layer.out_proj.weight).T.reshape(HEADS, -1, WIDTH)}}


def norm_of(read, layer):
    return {"scale": read(layer.weight), "bias": read(layer.bias)}


def dense(read, layer):
    return {"kernel": read(layer.weight).T, "bias": read(layer.bias)}


def from_torch(peer, embedding, norm, read):
    params = {"target_embedding": {"embedding": read(embedding)}}
    for side in ("encoder", "decoder"):
        stack = getattr(peer, side)
        params[side] = {}
        for number, layer in enumerate(stack.layers):
            block = {
                "attention": attention(read, layer.self_attn),
                "attention_norm": norm_of(read, layer.norm1),
                "mlp": {"inner": dense(read, layer.linear1), "outer": dense(read, layer.linear2)},
                "mlp_norm": norm_of(read, layer.norm2 if side == "encoder" else layer.norm3),
            }
            if side == "decoder":
                block["cross_attention"] = attention(read, layer.multihead_attn)
                block["cross_attention_norm"] = norm_of(read, layer.norm2)
            params[side][f"layer_{number}"] = block
        if norm == "pre":
            params[f"{side}_norm"] = norm_of(read, stack.norm)
    return params


def sinusoids(length):
    """Section 3.5, written out."""
    table = np.zeros((length, WIDTH))
    for place in range(length):
        for i in range(WIDTH // 2):
            table[place, 2 * i] = np.sin(place / 10000 ** (2 * i / WIDTH))
            table[place, 2 * i + 1] = np.cos(place / 10000 ** (2 * i / WIDTH))
    return torch.tensor(table, dtype=torch.float32)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_equal_to_pytorch(norm, scan_layers):
    torch.manual_seed(0)
    peer = build_peer(norm)
    embedding = torch.nn.Parameter(torch.randn(VOCABULARY, WIDTH) * 0.3)
    weights = RNG.normal(size=(3, 5, VOCABULARY)).astype(np.float32)

    def embed(tokens):
        return embedding[torch.tensor(tokens)] * WIDTH**0.5 + sinusoids(tokens.shape[1])

    before = np.concatenate([np.full((3, 1), 2), TARGET[:, :-1]], axis=1)
    features = peer(
        embed(SOURCE),
        embed(before),
        tgt_mask=torch.nn.Transformer.generate_square_subsequent_mask(5),
        src_key_padding_mask=torch.tensor(~MASK),
        memory_key_padding_mask=torch.tensor(~MASK),
    )
    expected = features @ embedding.T
    (expected * torch.tensor(weights)).sum().backward()

    model = archs.build(
        "transformer",
        source_vocab_size=VOCABULARY,
        target_vocab_size=VOCABULARY,
        start_token=2,
        hidden_size=WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
        mlp_size=INNER,
        norm=norm,
        scan_layers=scan_layers,
    )
    params = from_torch(peer, embedding, norm, lambda p: p.detach().numpy())
    if scan_layers:
        params |= {side: stack_layers(params[side]) for side in ("encoder", "decoder")}
    inputs = jnp.asarray(SOURCE), jnp.asarray(TARGET), jnp.asarray(MASK)

    def loss(params):
        logits = model.apply({"params": params}, *inputs)
        return (logits * weights).sum(), logits

    (_, logits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(jax.tree.map(jnp.asarray, params))
    if scan_layers:
        gradient |= {side: unstack_layers(gradient[side]) for side in ("encoder", "decoder")}

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    close(logits, expected.detach().numpy())
    jax.tree.map(close, gradient, from_torch(peer, embedding, norm, lambda p: p.grad.numpy()))
