"""BERT against transformers: what every head puts out and all gradients, with padding, looped and scanned."""

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

WIDTH, HEADS, INNER, LAYERS, VOCABULARY = 16, 4, 24, 2, 13
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(1, VOCABULARY, size=(3, 7))  # the peer gives no gradient to token 0, its padding
TYPES = (np.arange(7)[None] >= np.array([[4], [2], [1]])).astype(np.int64)
MASK = np.arange(7)[None] < np.array([[7], [4], [1]])
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": 9,
    "num_labels": 3,
}
HEADS_OF = {  # our fields, the peer's class
    "masked": ({"head": "masked_language_model"}, "BertForMaskedLM"),
    "pretraining": ({"head": "masked_language_model", "next_sentence": True}, "BertForPreTraining"),
    "sequence": ({"head": "sequence", "num_classes": 3}, "BertForSequenceClassification"),
    "tokens": ({"head": "tokens", "num_classes": 3}, "BertForTokenClassification"),
    "features": ({"head": "none"}, "BertModel"),
    "pooler": ({"head": "none", "pooler": True}, "BertModel"),
}


def build_peer(name):
    torch.manual_seed(0)
    fields, peer_class = HEADS_OF[name]
    options = {"add_pooling_layer": "pooler" in fields} if peer_class == "BertModel" else {}
    peer = getattr(transformers, peer_class)(transformers.BertConfig(**CONFIG), **options).eval()
    for parameter, tensor in peer.named_parameters():
        is_scale = "LayerNorm" in parameter and parameter.endswith("weight")
        torch.nn.init.normal_(tensor, 1.0 if is_scale else 0.0, 0.2 if "LayerNorm" in parameter else 0.3)
    return peer


def peer_outputs(name, peer, mask):
    """What is put out, as ours: the output, and the logits of the second head if there is one."""
    tensors = {"input_ids": TOKENS, "token_type_ids": TYPES, "attention_mask": mask.astype(np.int64)}
    given = peer(**{key: torch.tensor(array) for key, array in tensors.items()})
    kept = {
        "features": ["last_hidden_state"],
        "pooler": ["pooler_output"],
        "pretraining": ["prediction_logits", "seq_relationship_logits"],
    }
    return [given[key] for key in kept.get(name, ["logits"])]


def norm_of(read, layer):
    return {"scale": read(layer.weight), "bias": read(layer.bias)}


def dense(read, layer):
    return {"kernel": read(layer.weight).T, "bias": read(layer.bias)}


def attention(read, layer):
    params = {}
    for name in ("query", "key", "value"):
        projection = dense(read, getattr(layer.self, name))
        kernel, bias = projection["kernel"].reshape(WIDTH, HEADS, -1), projection["bias"].reshape(HEADS, -1)
        params[name] = {"kernel": kernel, "bias": bias}
    output = dense(read, layer.output.dense)
    return {**params, "output": {**output, "kernel": output["kernel"].reshape(HEADS, -1, WIDTH)}}


def from_torch(peer, read):
    body = getattr(peer, "bert", peer)
    params = {
        "embedding": {"embedding": read(body.embeddings.word_embeddings.weight)},
        "types": {"embedding": read(body.embeddings.token_type_embeddings.weight)},
        "positions": {"embedding": read(body.embeddings.position_embeddings.weight)},
        "norm": norm_of(read, body.embeddings.LayerNorm),
        "blocks": {
            f"layer_{number}": {
                "attention": attention(read, layer.attention),
                "attention_norm": norm_of(read, layer.attention.output.LayerNorm),
                "mlp": {"inner": dense(read, layer.intermediate.dense), "outer": dense(read, layer.output.dense)},
                "mlp_norm": norm_of(read, layer.output.LayerNorm),
            }
            for number, layer in enumerate(body.encoder.layer)
        },
    }
    if body.pooler is not None:
        params["pooler"] = dense(read, body.pooler.dense)
    if hasattr(peer, "classifier"):
        params["head"] = {"dense": dense(read, peer.classifier)}
    if hasattr(peer, "cls"):
        transform = peer.cls.predictions.transform
        params["head"] = {
            "dense": dense(read, transform.dense),
            "norm": norm_of(read, transform.LayerNorm),
            "bias": read(peer.cls.predictions.decoder.bias),
        }
    if hasattr(getattr(peer, "cls", None), "seq_relationship"):
        params["next_sentence_head"] = {"dense": dense(read, peer.cls.seq_relationship)}
    return params


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


@pytest.mark.parametrize("scan_layers, masked", [(False, True), (True, True), (False, False)])
@pytest.mark.parametrize("name", HEADS_OF)
def test_equal_to_transformers(name, scan_layers, masked):
    peer = build_peer(name)
    mask = MASK if masked else np.ones_like(MASK)
    expected = peer_outputs(name, peer, mask)
    weights = [RNG.normal(size=output.shape).astype(np.float32) for output in expected]
    weights = [w * mask[:, :, None] if w.ndim == 3 else w for w in weights]
    sum((output * torch.tensor(w)).sum() for output, w in zip(expected, weights, strict=True)).backward()

    sizes = {"hidden_size": WIDTH, "num_layers": LAYERS, "num_heads": HEADS, "mlp_size": INNER, "max_length": 9}
    stack = {"scan_layers": scan_layers, "remat": "full" if scan_layers else "none"}
    model = archs.build("bert", **HEADS_OF[name][0], vocab_size=VOCABULARY, **sizes, **stack)
    params = from_torch(peer, lambda tensor: tensor.detach().numpy())
    if scan_layers:
        params["blocks"] = stack_layers(params["blocks"])
    tokens, types = jnp.asarray(TOKENS), jnp.asarray(TYPES)

    def loss(params):
        real = jnp.asarray(mask) if masked else None
        output, sown = model.apply({"params": params}, tokens, real, types, mutable=["auxiliary"])
        outputs = [output, *jax.tree.leaves(sown)]
        return sum((output * w).sum() for output, w in zip(outputs, weights, strict=True)), outputs

    (_, outputs), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    for output, theirs in zip(outputs, expected, strict=True):
        theirs = theirs.detach().numpy()
        close(output[mask] if output.ndim == 3 else output, theirs[mask] if output.ndim == 3 else theirs)
    if scan_layers:
        gradients["blocks"] = unstack_layers(gradients["blocks"])
    close_gradients(gradients, from_torch(peer, lambda tensor: tensor.grad.numpy()))
