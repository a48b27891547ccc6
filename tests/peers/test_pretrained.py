"""Hugging Face folders: what transformers saves is read, and what is written transformers loads, with equal outputs."""

import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from safetensors.numpy import load_file, save_file

import archs
from train import pretrained
from train.pretrained import folder as folders

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
transformers = pytest.importorskip("transformers", reason="transformers is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(3, 32, 32, 3)).astype(np.float32)
TOKENS = RNG.integers(3, 13, size=(3, 7)).astype(np.int32)
TYPES = (np.arange(7)[None] >= np.array([[4], [2], [1]])).astype(np.int32)
TEXTS = np.concatenate([TOKENS[:, :6], np.full((3, 1), 12, np.int32)], axis=1)  # the highest token is the last

GPT = {"vocab_size": 13, "n_positions": 9, "n_embd": 16, "n_layer": 2, "n_head": 4, "num_labels": 3}
OUR_GPT = {"vocab_size": 13, "max_length": 9, "hidden_size": 16, "num_layers": 2, "num_heads": 4, "mlp_size": 64}
BERT = {
    "vocab_size": 13,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 9,
    "num_labels": 3,
}
OUR_BERT = {**OUR_GPT, "mlp_size": 24}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 5,
}
OUR_VIT = {
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 4,
    "mlp_size": 24,
    "patch_size": 8,
    "norm_epsilon": 1e-12,
    "num_classes": 5,
}
TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SPECIAL = {"bos_token_id": 0, "pad_token_id": 1}
OUR_CLIP = {
    "vocab_size": 13,
    "max_length": 7,
    "embedding_size": 12,
    "image_hidden_size": 16,
    "patch_size": 8,
    "num_image_layers": 2,
    "text_hidden_size": 16,
    "num_text_layers": 2,
    "head_size": 8,
}
TEXT = ({"tokens": TOKENS}, {"input_ids": TOKENS})
PAIRS = ({"tokens": TOKENS, "token_types": TYPES}, {"input_ids": TOKENS, "token_type_ids": TYPES})
IMAGES = ({"image": IMAGE}, {"pixel_values": IMAGE.transpose(0, 3, 1, 2)})
BOTH = ({"image": IMAGE, "tokens": TEXTS}, {"input_ids": TEXTS, **IMAGES[1]})


def clip(end):
    text = {**TOWER, **SPECIAL, "eos_token_id": end, "vocab_size": 13, "max_position_embeddings": 7}
    return {"text_config": text, "vision_config": {**TOWER, "image_size": 32, "patch_size": 8}, "projection_dim": 12}


# Class and config of the peer; architecture and fields of ours; inputs of both; and what of the peer's outputs is ours.
CASES = {
    "gpt1": ("OpenAIGPTLMHeadModel", GPT, "gpt", {**OUR_GPT, "norm": "post"}, TEXT, "logits"),
    "gpt1_features": ("OpenAIGPTModel", GPT, "gpt", {**OUR_GPT, "norm": "post", "head": "none"}, TEXT, 0),
    "gpt2": ("GPT2LMHeadModel", {**GPT, "n_inner": 24}, "gpt", OUR_BERT, TEXT, "logits"),
    "gpt2_sequence": (
        "GPT2ForSequenceClassification",
        {**GPT, "pad_token_id": 0},
        "gpt",
        {**OUR_GPT, "head": "sequence", "num_classes": 3},
        TEXT,
        "logits",
    ),
    "gpt2_tokens": (
        "GPT2ForTokenClassification",
        {**GPT, "activation_function": "relu"},
        "gpt",
        {**OUR_GPT, "head": "tokens", "num_classes": 3, "activation": "relu"},
        TEXT,
        "logits",
    ),
    "bert_masked": ("BertForMaskedLM", BERT, "bert", OUR_BERT, PAIRS, "logits"),
    "bert_pretraining": ("BertForPreTraining", BERT, "bert", {**OUR_BERT, "next_sentence": True}, PAIRS, 0),
    "bert_pooler": ("BertModel", BERT, "bert", {**OUR_BERT, "head": "none", "pooler": True}, PAIRS, "pooler_output"),
    "bert_sequence": (
        "BertForSequenceClassification",
        BERT,
        "bert",
        {**OUR_BERT, "head": "sequence", "num_classes": 3},
        PAIRS,
        "logits",
    ),
    "bert_tokens": (
        "BertForTokenClassification",
        {**BERT, "hidden_act": "gelu_new"},
        "bert",
        {**OUR_BERT, "head": "tokens", "num_classes": 3, "activation": "gelu_tanh"},
        PAIRS,
        "logits",
    ),
    "vit": ("ViTForImageClassification", VIT, "vit", OUR_VIT, IMAGES, "logits"),
    "resnet_basic": (
        "ResNetForImageClassification",
        {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 2], "layer_type": "basic", "num_labels": 5},
        "resnet",
        {
            "block": "basic",
            "stage_sizes": (1, 2),
            "hidden_sizes": (4, 8),
            "stage_strides": (1, 2),
            "num_classes": 5,
        },
        IMAGES,
        "logits",
    ),
    "resnet_bottleneck": (
        "ResNetModel",
        {"embedding_size": 4, "hidden_sizes": [16, 32], "depths": [1, 2], "downsample_in_first_stage": True},
        "resnet",
        {"stage_sizes": (1, 2), "hidden_sizes": (4, 8), "stage_strides": (2, 2), "num_classes": None},
        IMAGES,
        "pooler_output",
    ),
    "clip": ("CLIPModel", clip(2), "clip", OUR_CLIP, BOTH, "logits_per_image"),
    "clip_end": ("CLIPModel", clip(12), "clip", {**OUR_CLIP, "end_token": 12}, BOTH, "logits_per_image"),
}
SCANNED = [name for name, case in CASES.items() if case[2] != "resnet"]


def build_peer(name):
    torch.manual_seed(0)
    peer_class = getattr(transformers, CASES[name][0])
    peer = peer_class(peer_class.config_class(**CASES[name][1])).eval()
    with torch.no_grad():  # away from where they start: ones and zeros hide mistakes
        for tensor in peer.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_((0.9 + 0.2 * torch.rand_like(tensor)) * tensor + 0.1 * torch.rand_like(tensor))
    return peer


def peer_output(name, peer):
    inputs = {key: torch.tensor(value) for key, value in CASES[name][4][1].items()}
    inputs = {key: value if value.is_floating_point() else value.long() for key, value in inputs.items()}
    with torch.no_grad():
        return peer(**inputs)[CASES[name][5]].numpy()


def build(name, **more):
    """Our model, its inputs, and zeros for its variables."""
    model = archs.build(CASES[name][2], **{**CASES[name][3], **more})
    inputs = {key: jnp.asarray(value) for key, value in CASES[name][4][0].items()}
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), **inputs))
    return model, inputs, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def close(name, model, inputs, variables, expected):
    output = np.asarray(jax.jit(model.apply)(variables, **inputs)).reshape(expected.shape)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize(
    "name, more", [(name, {}) for name in CASES] + [(name, {"scan_layers": True}) for name in SCANNED]
)
def test_outputs_are_equal_both_ways(name, more, tmp_path, caplog):
    peer = build_peer(name)
    expected = peer_output(name, peer)
    peer.save_pretrained(tmp_path / "theirs")
    model, inputs, variables = build(name, **more)
    loaded = pretrained.load(tmp_path / "theirs", model, variables, "load")
    assert "not read" not in caplog.text
    close(name, model, inputs, loaded, expected)

    folders.write(tmp_path / "ours", *pretrained.export(model, jax.tree.map(np.asarray, loaded)))
    again = pretrained.load(tmp_path / "ours", model, variables, "load")
    assert jax.tree.all(jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), loaded, again))
    written, info = getattr(transformers, CASES[name][0]).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    if name == "gpt2_sequence":  # our models know masks, and no token for padding
        written.config.pad_token_id = peer.config.pad_token_id
    np.testing.assert_array_equal(peer_output(name, written.eval()), expected)
    there, here = (load_file(tmp_path / who / "model.safetensors") for who in ("theirs", "ours"))
    assert {name: tensor.shape for name, tensor in there.items()} == {name: t.shape for name, t in here.items()}
    _, info = transformers.AutoModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert all("pooler" in key for key in info["missing_keys"])  # which our model may do without


@pytest.mark.parametrize("name", ["vit", "gpt2"])
def test_sharded_folders_are_read(name, tmp_path):
    peer = build_peer(name)
    peer.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 and not (tmp_path / "model.safetensors").exists()
    model, inputs, variables = build(name)
    close(name, model, inputs, pretrained.load(tmp_path, model, variables, "load"), peer_output(name, peer))


def rename(folder, change):
    """What an older release would have saved."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file)


@pytest.mark.parametrize(
    "name, change",
    [
        ("gpt2", lambda old: {name.removeprefix("transformer."): tensor for name, tensor in old.items()}),
        ("gpt2", lambda old: {**old, "lm_head.weight": old["transformer.wte.weight"]}),
        ("gpt2", lambda old: {**old, "transformer.h.1.attn.bias": np.ones((1, 1, 9, 9), np.float32)}),
        ("gpt2", lambda old: {("lm_head.weight" if "wte" in name else name): tensor for name, tensor in old.items()}),
        (
            "bert_masked",
            lambda old: {
                name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
                for name, tensor in old.items()
            },
        ),
        ("bert_masked", lambda old: {**old, "bert.embeddings.position_ids": np.arange(9)[None]}),
        ("clip", lambda old: {**old, "text_model.embeddings.position_ids": np.arange(7)[None]}),
    ],
)
def test_names_of_older_releases_are_read(name, change, tmp_path):
    peer = build_peer(name)
    peer.save_pretrained(tmp_path)
    rename(tmp_path, change)
    model, inputs, variables = build(name)
    close(name, model, inputs, pretrained.load(tmp_path, model, variables, "load"), peer_output(name, peer))


def test_a_head_may_be_left_where_the_model_has_another(tmp_path, caplog):
    """As with bert-base: its folder has both heads of pre-training."""
    build_peer("bert_pretraining").save_pretrained(tmp_path)
    model, inputs, variables = build("bert_masked")
    loaded = pretrained.load(tmp_path, model, variables, "load")
    assert "cls.seq_relationship.weight" in caplog.text and "cls.predictions" not in caplog.text
    peer = transformers.BertForMaskedLM.from_pretrained(tmp_path).eval()
    close("masked", model, inputs, loaded, peer_output("bert_masked", peer))


def test_a_new_head_keeps_its_pooler(tmp_path):
    build_peer("bert_pretraining").save_pretrained(tmp_path)
    model, _, variables = build("bert_sequence", num_classes=7)
    loaded = pretrained.load(tmp_path, model, variables, "new")["params"]
    assert not np.any(loaded["head"]["dense"]["kernel"]) and np.all(loaded["pooler"]["kernel"])


def test_settings_left_out_have_the_defaults_of_transformers(tmp_path):
    for name in ("gpt1", "gpt2", "bert_masked", "vit", "resnet_basic", "clip"):
        peer_class = getattr(transformers, CASES[name][0])
        whole = json.loads(peer_class.config_class().to_json_string(use_diff=False))
        family = next(f for f in pretrained.families.families() if f.MODEL_TYPE == whole["model_type"])
        assert family.fields({}) == family.fields(whole), name
        fixed = {key: whole[key] for key in family.FIXED_THERE if key in whole}
        assert fixed.items() <= family.FIXED_THERE.items(), name
