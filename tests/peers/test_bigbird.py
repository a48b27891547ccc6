"""BigBird's block-sparse attention against Hugging Face's, with the random blocks that it draws."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers.attention import MultiHeadAttention
from archs.layers.mixers import bigbird

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
transformers = pytest.importorskip("transformers", reason="the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

BATCH, HEADS, SIZE, WIDTH = 2, 2, 4, 8  # SIZE of a block


def build_peer(num_random_blocks):
    modeling = pytest.importorskip("transformers.models.big_bird.modeling_big_bird")
    config = transformers.BigBirdConfig(
        hidden_size=WIDTH, num_attention_heads=HEADS, block_size=SIZE, num_random_blocks=num_random_blocks
    )
    # Random blocks are all block 0, again and again, outside training.
    peer = modeling.BigBirdBlockSparseAttention(config, seed=5).train()
    return peer, modeling.BigBirdModel.create_masks_for_block_sparse_attn


def drawn_by(peer, length):
    """The random blocks [H, rows, r] that the peer draws for this length."""
    np.random.seed(peer.seed)
    until, counts = peer._get_rand_attn_plan(length, SIZE, peer.num_random_blocks)
    return np.stack(peer._bigbird_block_rand_mask_with_head(length, length, SIZE, SIZE, HEADS, until, counts))


def from_torch(peer, output, read) -> dict:
    """Kernels [H K, D] become [D, H, K], and that of the output [H, V, D]."""
    kernels = {
        name: {
            "kernel": read(getattr(peer, name).weight).T.reshape(WIDTH, HEADS, -1),
            "bias": read(getattr(peer, name).bias).reshape(HEADS, -1),
        }
        for name in ("query", "key", "value")
    }
    output = {"kernel": read(output.weight).T.reshape(HEADS, -1, WIDTH), "bias": read(output.bias)}
    return {**kernels, "output": output}


@pytest.mark.parametrize("num_blocks, num_random_blocks, masked", [(12, 3, False), (12, 3, True), (16, 2, True)])
def test_equal_to_hugging_face(num_blocks, num_random_blocks, masked, monkeypatch):
    torch.manual_seed(0)
    peer, masks_of = build_peer(num_random_blocks)
    output = torch.nn.Linear(WIDTH, WIDTH)
    length = num_blocks * SIZE
    rng = np.random.default_rng(0)
    values = rng.normal(size=(BATCH, length, WIDTH)).astype(np.float32)
    mask = np.arange(length)[None] < np.array([[length], [length - 6 if masked else length]])
    weights = np.where(mask[:, :, None], rng.normal(size=values.shape), 0).astype(np.float32)
    x = torch.tensor(values, requires_grad=True)
    blocked, band, queries, keys = masks_of(torch.tensor(mask, dtype=torch.float32), SIZE)
    mixed, _ = peer(
        x, band_mask=band, from_mask=queries, to_mask=keys, from_blocked_mask=blocked, to_blocked_mask=blocked
    )
    peer_outputs = output(mixed)
    (peer_outputs * torch.tensor(weights)).sum().backward()

    drawn = drawn_by(peer, length)
    monkeypatch.setattr(bigbird, "random_plan", lambda *_: drawn)
    fields = {"block_size": SIZE, "random_blocks": num_random_blocks}
    attention = MultiHeadAttention(HEADS, mixer="bigbird", mixer_kwargs=fields)
    params = jax.tree.map(jnp.asarray, from_torch(peer, output, lambda p: p.detach().numpy()))

    def loss(params, x):
        outputs = attention.apply({"params": params}, x, mask=jnp.asarray(mask) if masked else None)
        return (outputs * weights).sum(), outputs

    gradients, outputs = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, jnp.asarray(values))

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    close(outputs[mask], peer_outputs.detach().numpy()[mask])
    close(gradients[1], x.grad.numpy())
    expected = from_torch(peer, output, lambda p: p.grad.numpy())
    # A bias of all keys moves all scores of a query alike, so its gradient is zero but for rounding.
    for gradient in (gradients[0], expected):
        assert np.abs(gradient["key"].pop("bias")).max() < 1e-5
    jax.tree.map(close, gradients[0], expected)
