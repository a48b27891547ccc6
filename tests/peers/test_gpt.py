"""GPT-1 and GPT-2 against transformers: logits and all gradients, with padding, in looped and scanned stacks."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import numpy as jnp

import archs
from archs.layers.stack import stack_layers, unstack_layers

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
transformers = pytest.importorskip("transformers", reason="transformers is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

WIDTH, HEADS, LAYERS, VOCABULARY = 16, 4, 2, 13
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(VOCABULARY, size=(3, 7))
MASK = np.arange(7)[None] < np.array([[7], [4], [1]])
SHAPE = {"vocab_size": VOCABULARY, "n_positions": 9, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
PEERS = {
    "gpt1": (transformers.OpenAIGPTConfig, transformers.OpenAIGPTLMHeadModel, "tokens_embed", "positions_embed"),
    "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel, "wte", "wpe"),
}


def build_peer(name, peer_class, **fields):
    torch.manual_seed(0)
    peer = peer_class(PEERS[name][0](**SHAPE, **fields)).eval()
    for parameter, tensor in peer.named_parameters():
        if "ln_" in parameter:
            torch.nn.init.normal_(tensor, 1.0 if parameter.endswith("weight") else 0.0, 0.2)
        else:
            torch.nn.init.normal_(tensor, 0.0, 0.3)
    return peer


def norm_of(read, layer):
    return {"scale": read(layer.weight), "bias": read(layer.bias)}


def dense(read, layer):
    """Weights of `Conv1D` are [in, out]."""
    return {"kernel": read(layer.weight), "bias": read(layer.bias)}


def attention(read, layer):
    joint = dense(read, layer.c_attn)
    kernels = np.split(joint["kernel"], 3, axis=1)
    biases = np.split(joint["bias"], 3)
    params = {
        name: {"kernel": kernel.reshape(WIDTH, HEADS, -1), "bias": bias.reshape(HEADS, -1)}
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
    }
    output = dense(read, layer.c_proj)
    return {**params, "output": {**output, "kernel": output["kernel"].reshape(HEADS, -1, WIDTH)}}


def from_torch(name, peer, read):
    body, (_, _, tokens, positions) = peer.transformer, PEERS[name]
    params = {
        "embedding": {"embedding": read(getattr(body, tokens).weight)},
        "positions": {"embedding": read(getattr(body, positions).weight)},
        "blocks": {
            f"layer_{number}": {
                "attention": attention(read, layer.attn),
                "attention_norm": norm_of(read, layer.ln_1),
                "mlp": {"inner": dense(read, layer.mlp.c_fc), "outer": dense(read, layer.mlp.c_proj)},
                "mlp_norm": norm_of(read, layer.ln_2),
            }
            for number, layer in enumerate(body.h)
        },
    }
    return {**params, "norm": norm_of(read, body.ln_f)} if name == "gpt2" else params


def close(actual, expected, name=""):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=str(name))


def close_gradients(actual, expected):
    actual, expected = flatten_dict(actual), flatten_dict(expected)
    assert set(actual) == set(expected)
    for name, gradient in expected.items():
        if name[-2:] == ("key", "bias"):  # adds the same to all scores of a query: zero but for rounding
            assert max(np.abs(actual[name]).max(), np.abs(gradient).max()) < 1e-4
        else:
            close(actual[name], gradient, name)


def value(tensor):
    return tensor.detach().numpy()


def gradient_of(tensor):
    return np.zeros(tensor.shape, np.float32) if tensor.grad is None else tensor.grad.numpy()


def build(name, **fields):
    sizes = {"hidden_size": WIDTH, "num_layers": LAYERS, "num_heads": HEADS, "mlp_size": 4 * WIDTH}
    return archs.build("gpt", variant=name, **sizes, vocab_size=VOCABULARY, max_length=9, **fields)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_equal_to_transformers(name, scan_layers, masked):
    peer = build_peer(name, PEERS[name][1])
    mask = MASK if masked else np.ones_like(MASK)
    weights = RNG.normal(size=(*TOKENS.shape, VOCABULARY)).astype(np.float32) * mask[:, :, None]
    peer_logits = peer(torch.tensor(TOKENS), attention_mask=torch.tensor(mask).long()).logits
    (peer_logits * torch.tensor(weights)).sum().backward()

    model = build(name, scan_layers=scan_layers, remat="full" if scan_layers else "none")
    params = from_torch(name, peer, value)
    if scan_layers:
        params["blocks"] = stack_layers(params["blocks"])

    def loss(params):
        logits = model.apply({"params": params}, jnp.asarray(TOKENS), jnp.asarray(mask) if masked else None)
        return (logits * weights).sum(), logits

    (_, logits), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    close(np.asarray(logits)[mask], value(peer_logits)[mask])
    if scan_layers:
        gradients["blocks"] = unstack_layers(gradients["blocks"])
    close_gradients(gradients, from_torch(name, peer, gradient_of))


def test_sequences_are_classified_as_in_transformers():
    """The peer reads the last token that is not padding, by a map without bias."""
    peer = build_peer("gpt2", transformers.GPT2ForSequenceClassification, num_labels=3, pad_token_id=0)
    tokens = np.where(MASK, 1 + TOKENS % (VOCABULARY - 1), 0)
    expected = value(peer(torch.tensor(tokens), attention_mask=torch.tensor(MASK).long()).logits)
    params = {**from_torch("gpt2", peer, value), "head": {"kernel": value(peer.score.weight).T}}
    model = build("gpt2", head="sequence", num_classes=3)
    close(jax.jit(model.apply)({"params": params}, jnp.asarray(tokens), jnp.asarray(MASK)), expected)


def test_the_cache_gives_what_that_of_transformers_gives():
    peer = build_peer("gpt2", transformers.GPT2LMHeadModel)
    model = build("gpt2")
    params = jax.tree.map(jnp.asarray, from_torch("gpt2", peer, value))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(TOKENS), decode=True))["cache"]
    cache = {"cache": jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)}
    apply = jax.jit(lambda cache, new: model.apply({"params": params, **cache}, new, decode=True, mutable=["cache"]))
    past = None
    for part in (slice(0, 4), slice(4, 5), slice(5, 6)):
        expected = peer(torch.tensor(TOKENS[:, part]), past_key_values=past, use_cache=True)
        past = expected.past_key_values
        logits, cache = apply(cache, jnp.asarray(TOKENS[:, part]))
        close(logits, value(expected.logits))
