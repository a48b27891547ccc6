"""Folders: every way in which one may not fit gives one line that says how."""

import json
import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from safetensors.numpy import load_file, save_file

import archs
from archs import vit
from train import pretrained
from train.errors import UserError
from train.pretrained import folder as folders
from train.pretrained import matching

VIT = {"patch_size": 4, "hidden_size": 8, "num_layers": 2, "num_heads": 2, "mlp_size": 12, "num_classes": 3}
BERT = {"vocab_size": 11, "max_length": 6, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 12}
RESNET = {"stage_sizes": (1, 2), "hidden_sizes": (4, 8), "stage_strides": (1, 2), "num_classes": 3}
GPT = {**BERT, "mlp_size": 32}
CLIP = {
    "vocab_size": 11,
    "max_length": 6,
    "embedding_size": 12,
    "image_hidden_size": 8,
    "patch_size": 4,
    "num_image_layers": 1,
    "text_hidden_size": 16,
    "num_text_layers": 2,
    "head_size": 4,
}
INPUTS = {
    "image": np.zeros((1, 8, 8, 1), np.float32),
    "tokens": np.zeros((1, 6), np.int32),
    "token_types": np.zeros((1, 6), np.int32),
}
READS = {
    "vit": ["image"],
    "resnet": ["image"],
    "gpt": ["tokens"],
    "bert": ["tokens", "token_types"],
    "clip": ["image", "tokens"],
}


def build(name, **fields):
    model = archs.build(name, **fields)
    inputs = {key: jnp.asarray(INPUTS[key]) for key in READS[name]}
    return model, jax.eval_shape(lambda: model.init(jax.random.key(0), **inputs))


def random(shapes):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def zeros(shapes):
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def write(path, name, **fields):
    model, shapes = build(name, **fields)
    values = random(shapes)
    folders.write(path, *pretrained.export(model, values))
    return model, shapes, values


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(), a, b))


@pytest.mark.parametrize(
    "name, fields",
    [
        ("vit", VIT),
        ("vit", {**VIT, "num_classes": None, "scan_layers": True, "mixer": "ring"}),
        ("vit", {**VIT, "param_dtype": "bfloat16"}),
        ("resnet", RESNET),
        ("resnet", {**RESNET, "block": "basic", "stage_strides": (2, 2)}),
        ("gpt", {**GPT, "norm": "post"}),
        ("gpt", {**GPT, "mlp_size": 12, "activation": "gelu", "scan_layers": True}),
        ("bert", {**BERT, "next_sentence": True, "num_types": 3}),
        ("clip", {**CLIP, "end_token": 7}),
        ("clip", {**CLIP, "scan_layers": True}),
    ],
)
def test_what_is_written_is_read_bit_by_bit(name, fields, tmp_path):
    model, shapes, values = write(tmp_path, name, **fields)
    pretrained.check(tmp_path, model, shapes, "load")
    assert same(pretrained.load(tmp_path, model, zeros(shapes), "load"), values)


def test_a_looped_stack_reads_what_a_scanned_one_wrote(tmp_path):
    _, _, values = write(tmp_path, "vit", **VIT, scan_layers=True)
    model, shapes = build("vit", **VIT)
    loaded = pretrained.load(tmp_path, model, zeros(shapes), "load")["params"]
    for layer in (0, 1):
        expected = jax.tree.map(lambda leaf, layer=layer: leaf[layer], values["params"]["blocks"]["layers"])
        assert same(loaded["blocks"][f"layer_{layer}"], expected)


def test_numbers_take_the_type_of_the_parameters(tmp_path):
    _, _, values = write(tmp_path, "vit", **VIT, param_dtype="bfloat16")
    model, shapes = build("vit", **VIT)
    loaded = pretrained.load(tmp_path, model, zeros(shapes), "load")
    assert same(loaded, jax.tree.map(lambda leaf: leaf.astype(np.float32), values))


def refused(message, path, model, shapes, init_head="load"):
    for read in (pretrained.check, pretrained.load):
        with pytest.raises(UserError, match=message) as error:
            read(path, model, zeros(shapes), init_head)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"hidden_size": 16}, "config.model.hidden_size is 16, and 8 there"),
        ({"norm_epsilon": 1e-5}, "config.model.norm_epsilon is 1e-05, and 1e-06 there"),
        ({"activation": "relu"}, "config.model.activation is 'relu', and 'gelu' there"),
        ({"pool": "mean"}, "config.model.pool is 'mean', and 'token' there"),
        ({"num_classes": 4}, "config.model.num_classes is 4, and 3 there"),
        ({"num_layers": 3, "mlp_size": 8}, "num_layers is 3, and 2 there; config.model.mlp_size is 8, and 12 there"),
    ],
)
def test_fields_that_disagree_are_named_with_both_values(fields, message, tmp_path):
    write(tmp_path, "vit", **VIT)
    refused(message, tmp_path, *build("vit", **{**VIT, **fields}))


def change(path, **settings):
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


@pytest.mark.parametrize(
    "name, fields, settings, message",
    [
        ("vit", VIT, {"qkv_bias": False}, "qkv_bias=False in .*config.json has no counterpart"),
        ("vit", VIT, {"hidden_act": "silu"}, "activation is 'gelu', and 'silu' there"),
        ("vit", VIT, {"model_type": "swin"}, "holds 'swin'. Allowed: bert, clip, gpt2, openai-gpt, resnet, vit"),
        ("vit", VIT, {"model_type": "bert"}, "'vit' cannot take the weights of 'bert' in .*; 'bert' can"),
        ("resnet", RESNET, {"downsample_in_bottleneck": True}, "downsample_in_bottleneck=True"),
        ("resnet", RESNET, {"embedding_size": 5}, "embedding_size=5 in config.json have no counterpart"),
        ("gpt", GPT, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ("clip", CLIP, {"vision_config": {"hidden_act": "gelu"}}, "vision_config.hidden_act of config.json is 'gelu'"),
    ],
)
def test_settings_that_we_do_not_have_are_refused(name, fields, settings, message, tmp_path):
    model, shapes, _ = write(tmp_path, name, **fields)
    change(tmp_path, **settings)
    refused(message, tmp_path, model, shapes)


def edit(path, function):
    file = path / "model.safetensors"
    tensors = load_file(file)
    save_file(function(tensors), file)


LAYER = "vit.encoder.layer.0.layernorm_before"


def test_one_error_lists_tensors_that_are_missing_extra_or_misshapen(tmp_path):
    def spoil(tensors):
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(LAYER)}
        kept |= {f"stranger.{number}": np.zeros(1, np.float32) for number in range(7)}
        kept["vit.layernorm.weight"] = np.zeros(9, np.float32)
        return {**kept, "vit.layernorm.bias": np.zeros(8, np.int8)}

    model, shapes, _ = write(tmp_path, "vit", **VIT)
    edit(tmp_path, spoil)
    parts = [
        f"2 missing: {LAYER}.bias, {LAYER}.weight; ",
        "2 of another shape or type: vit.layernorm.bias (I8 [8] there, [8] by config.model), "
        "vit.layernorm.weight (F32 [9] there, [8] by config.model); ",
        "7 extra: stranger.0…6 (7).",
    ]
    refused(re.escape("".join(parts)), tmp_path, model, shapes)


def test_the_error_leaves_no_name_out(tmp_path):
    """Where it concerns many layers."""
    fields = {**VIT, "num_layers": 12}
    name = "vit.encoder.layer.{}.layernorm_before.bias"
    lost = [name.format(layer) for layer in (0, 1, 2, 3, 10)]
    model, shapes, _ = write(tmp_path, "vit", **fields)
    edit(tmp_path, lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in lost})
    refused(re.escape(f"5 missing: {name.format('0…3')} (4), {name.format('10')}."), tmp_path, model, shapes)

    def widen(tensors):
        wide = {name: np.zeros(9, np.float32) for name in tensors if name.endswith("layernorm_after.bias")}
        return {**tensors, **wide}

    write(tmp_path / "wide", "vit", **fields)
    edit(tmp_path / "wide", widen)
    folded = "vit.encoder.layer.0…11.layernorm_after.bias (F32 [9] there, [8] by config.model) (12)."
    refused(re.escape(f"12 of another shape or type: {folded}"), tmp_path / "wide", model, shapes)


def unfold(text):
    """The names that a list in an error stands for."""
    for part in text.split(", "):
        if match := re.fullmatch(r"(.*?)(\d+)…(\d+)(.*) \((\d+)\)", part):
            before, first, last, after, count = match.groups()
            numbers = range(int(first), int(last) + 1)
            assert len(numbers) == int(count) > 1
            yield from (f"{before}{number}{after}" for number in numbers)
        else:
            yield part


@pytest.mark.parametrize(
    "names, text",
    [
        (["a", "b.weight"], "a, b.weight"),
        ([f"h.{layer}.ln_{norm}.bias" for layer in range(12) for norm in (1, 2)], None),
        ([f"h.{layer}.bias" for layer in (0, 1, 10, 11, 2, 5)], "h.0…2.bias (3), h.10…11.bias (2), h.5.bias"),
        (["h.01.bias", "h.1.bias", "h.2.bias", "h.1x2.bias"], "h.01.bias, h.1…2.bias (2), h.1x2.bias"),
        (["h.12", "h.1\N{ARABIC-INDIC DIGIT THREE}", "h.14", "9" * 5000], None),  # digits that do not count
        (["stage.2.block.4", "stage.1.block.3", "stage.2.block.3"], "stage.2.block.3…4 (2), stage.1.block.3"),
        ([f"{a}.{b}.{c}" for a in range(3) for b in range(3) for c in range(3) if a + b != c], None),
    ],
)
def test_folded_names_stand_for_all_names_once(names, text):
    folded = matching._fold(names)
    assert sorted(unfold(folded)) == sorted(names)
    assert text in (None, folded)


def shapes_for(image, name, **fields):
    """A model and its variables for images of another shape."""
    model = archs.build(name, **fields)
    inputs = {key: jnp.asarray(INPUTS[key]) for key in READS[name]} | {"image": jnp.zeros((1, *image, 1))}
    return model, jax.eval_shape(lambda: model.init(jax.random.key(0), **inputs))


@pytest.mark.parametrize("name, fields", [("vit", VIT), ("vit", {**VIT, "param_dtype": "bfloat16"}), ("clip", CLIP)])
@pytest.mark.parametrize("side", [4, 16])
def test_positions_are_interpolated_for_images_of_another_size(name, fields, side, tmp_path, caplog):
    """And nothing else is touched."""
    _, _, values = write(tmp_path, name, **fields)
    model, shapes = shapes_for((side, side), name, **fields)
    pretrained.check(tmp_path, model, shapes, "load")
    assert not caplog.records
    loaded = pretrained.load(tmp_path, model, zeros(shapes), "load")["params"]
    tower = {"vit": lambda params: params, "clip": lambda params: params["image"]}[name]
    original = jax.tree.map(lambda leaf: leaf.astype(np.float32), tower(values["params"]))
    resized = vit.resize_positions(original, side // 4, side // 4)["positions"]["embedding"]
    dtype = fields.get("param_dtype", "float32")
    assert same(tower(loaded)["positions"]["embedding"], resized.astype(dtype))
    for params in (loaded, values["params"]):
        del tower(params)["positions"]
    assert same(loaded, values["params"])
    (record,) = caplog.records
    assert "position_embedding" in record.getMessage() and f"from 2² to {side // 4}² patches" in record.getMessage()


def test_images_of_the_same_size_are_not_mentioned(tmp_path, caplog):
    model, shapes, values = write(tmp_path, "vit", **VIT)
    assert same(pretrained.load(tmp_path, model, zeros(shapes), "load"), values) and not caplog.records


@pytest.mark.parametrize("there, image, here", [((5, 8), (8, 16), 9), ((7, 8), (8, 8), 5), ((8,), (8, 8), 5)])
def test_positions_of_no_square_grid_are_refused(there, image, here, tmp_path):
    name = "vision_model.embeddings.position_embedding.weight"
    write(tmp_path, "clip", **CLIP)
    edit(tmp_path, lambda tensors: {**tensors, name: np.zeros(there, np.float32)})
    message = f"1 of another shape .*{name} (F32 {list(there)} there, [{here}, 8] by config.model)"
    refused(re.escape(message).replace(r"\.\*", ".*"), tmp_path, *shapes_for(image, "clip", **CLIP))


def test_a_head_is_new_only_where_the_config_says_so(tmp_path, caplog):
    _, _, values = write(tmp_path, "vit", **VIT)
    model, shapes = build("vit", **{**VIT, "num_classes": 5})
    refused("num_classes is 5, and 3 there", tmp_path, model, shapes)
    loaded = pretrained.load(tmp_path, model, zeros(shapes), "new")["params"]
    assert not np.any(loaded.pop("head")["dense"]["kernel"])
    assert same(loaded, {name: value for name, value in values["params"].items() if name != "head"})
    assert "classifier.bias, classifier.weight" in caplog.text


def test_a_missing_head_is_missing_unless_new(tmp_path):
    write(tmp_path, "vit", **{**VIT, "num_classes": None})
    model, shapes = build("vit", **VIT)
    refused("2 missing: classifier.bias, classifier.weight. config.init_head=new starts", tmp_path, model, shapes)
    pretrained.check(tmp_path, model, shapes, "new")
    headless, shapes = build("vit", **{**VIT, "num_classes": None})
    refused("config.init_head: 'new' would do nothing", tmp_path, headless, shapes, "new")


FLOATS = np.ones((2, 8), np.float32)
POOLER = ["pooler.dense.bias", "pooler.dense.weight"]
DOUBLE_HEAD = ["multiple_choice_head.summary.bias", "multiple_choice_head.summary.weight"]


@pytest.mark.parametrize(
    "name, fields, learned, buffers",
    [
        ("vit", VIT, [f"vit.{name}" for name in POOLER], []),
        ("vit", {**VIT, "num_classes": None}, POOLER, []),
        ("gpt", GPT, DOUBLE_HEAD, ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"]),
        ("gpt", {**GPT, "norm": "post"}, DOUBLE_HEAD, ["transformer.h.0.attn.bias"]),
        ("bert", BERT, [f"bert.{name}" for name in POOLER], ["bert.embeddings.position_ids"]),
        ("clip", CLIP, [], ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"]),
    ],
)
def test_learned_tensors_that_stay_unread_are_named(name, fields, learned, buffers, tmp_path, caplog):
    """And buffers, of which nothing is lost, are not."""
    model, shapes, values = write(tmp_path, name, **fields)
    edit(tmp_path, lambda tensors: {**tensors, **dict.fromkeys(buffers, FLOATS)})
    assert same(pretrained.load(tmp_path, model, zeros(shapes), "load"), values) and not caplog.records
    edit(tmp_path, lambda tensors: {**tensors, **dict.fromkeys(learned, FLOATS)})
    assert same(pretrained.load(tmp_path, model, zeros(shapes), "load"), values)
    messages = [record.getMessage() for record in caplog.records]
    reason = "not read, as the model has no place for it or starts its head anew"
    assert messages == ([f"{tmp_path}: {reason}: {', '.join(learned)}"] if learned else [])


@pytest.mark.parametrize(
    "name, fields, mixer, missing",
    [
        ("vit", VIT, {"mixer": "linformer", "mixer_kwargs": {"projection_size": 2, "max_length": 5}}, "mixer/"),
        ("gpt", GPT, {"mixer": "synthesizer", "mixer_kwargs": {"max_length": 6}}, "query/kernel"),
    ],
)
def test_variables_that_no_tensor_holds_are_missing(name, fields, mixer, missing, tmp_path):
    write(tmp_path, name, **fields)
    refused(f"missing: .*params/blocks/layer_0(…1)?/attention/{missing}", tmp_path, *build(name, **fields, **mixer))


def test_tied_weights_must_be_equal(tmp_path):
    model, shapes, _ = write(tmp_path, "gpt", **GPT)
    edit(tmp_path, lambda tensors: {**tensors, "lm_head.weight": tensors["transformer.wte.weight"] + 1})
    with pytest.raises(UserError, match="transformer.wte.weight and lm_head.weight differ in .*tied"):
        pretrained.load(tmp_path, model, zeros(shapes), "load")


def test_pickles_are_never_read(tmp_path):
    model, shapes, _ = write(tmp_path, "vit", **VIT)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refused("no model.safetensors, only pytorch_model.bin: a pickle, which can run any code", tmp_path, model, shapes)


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("config.json", None, "config.json cannot be read: No such file"),
        ("config.json", "{", "config.json is not JSON"),
        ("model.safetensors", None, "has neither model.safetensors nor model.safetensors.index.json"),
        ("model.safetensors", "123", "model.safetensors cannot be read: .*header"),
        (
            "model.safetensors.index.json",
            '{"weight_map": {"a": "model-1-of-2.safetensors"}}',
            "model-1-of-2.safetensors cannot be read: No such file",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(file, text, message, tmp_path):
    model, shapes, _ = write(tmp_path, "vit", **VIT)
    (tmp_path / file).write_text(text) if text else (tmp_path / file).unlink()
    refused(f"config.init_from: .*{message}", tmp_path, model, shapes)


def test_buckets_are_refused(tmp_path):
    refused("gs://bucket/vit is not a folder of this machine", "gs://bucket/vit", *build("vit", **VIT))


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("vit", {**VIT, "pool": "mean"}, "vit of transformers cannot express this model: config.model.pool is 'mean'"),
        ("vit", {**VIT, "activation": "scaled_tanh"}, "config.model.activation: transformers has no 'scaled_tanh'"),
        ("gpt", {**GPT, "norm": "post", "mlp_size": 12}, "openai-gpt .* config.model.mlp_size is 12, and 32 there"),
        (
            "gpt",
            {**GPT, "norm": "post", "head": "tokens", "num_classes": 3},
            "config.model.head: openai-gpt of transformers has no head 'tokens'",
        ),
        ("resnet", {**RESNET, "stage_strides": (1, 1)}, r"stage_strides is \(1, 1\), and \(1, 2\) there"),
        (
            "clip",
            {**CLIP, "image_tower": "resnet", "stage_sizes": (1, 1), "patch_size": None, "num_image_layers": None},
            "clip of transformers cannot express this model: config.model.image_tower is 'resnet'",
        ),
    ],
)
def test_what_transformers_cannot_express_is_not_written(name, fields, message):
    model, shapes = build(name, **fields)
    with pytest.raises(UserError, match=message):
        pretrained.export(model, random(shapes))


def test_images_that_are_not_square_are_not_written():
    model = archs.build("vit", **VIT)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 16, 1)))
    with pytest.raises(UserError, match="square images"):
        pretrained.export(model, random(shapes))
