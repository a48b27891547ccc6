"""CLIP: what texts are read by, how logits come from embeddings, and the limit of the temperature."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import numpy as jnp

import archs
from archs import clip, resnet

TEXT = {"vocab_size": 20, "max_length": 7, "embedding_size": 12, "text_hidden_size": 16, "num_text_layers": 1}
SMALL = {**TEXT, "image_hidden_size": 16, "patch_size": 8, "num_image_layers": 1, "head_size": 8}
CASES = {
    "vit": {**SMALL, "end_token": 19},
    "resnet": {**TEXT, "image_tower": "resnet", "image_hidden_size": 8, "stage_sizes": (1, 1), "head_size": 8},
    "scanned": {
        **SMALL,
        "num_text_layers": 2,
        "mixer": "dense",
        "mixer_kwargs": {"dropout_rate": 0.5},
        "text_mixer": "dense",
        "text_mixer_kwargs": {"dropout_rate": 0.4},
        "scan_layers": True,
        "remat": "full",
    },
}
RNG = np.random.default_rng(0)
INPUTS = {
    "image": RNG.normal(size=(2, 16, 16, 3)).astype(np.float32),
    "tokens": np.array([[18, 4, 5, 19, 0, 0, 0], [18, 6, 7, 8, 9, 19, 0]], np.int32),
    "mask": np.array([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]], bool),
}
COUNTS = [
    ({"variant": "RN50"}, 102_007_137),
    ({"variant": "ViT-B/32"}, 151_277_313),
    ({"variant": "ViT-B/16"}, 149_620_737),
    ({"variant": "ViT-L/14"}, 427_616_513),
]
IMAGE, TOKENS, MASK = (jnp.asarray(value) for value in INPUTS.values())


@pytest.fixture
def texts(random_variables):
    """Embeddings of texts, by a small model with the given fields."""

    def build(**fields):
        model = archs.build("clip", **{**SMALL, **fields})
        variables = random_variables(model, IMAGE, TOKENS, MASK)
        return jax.jit(lambda tokens, mask=None: model.apply(variables, tokens, mask, method="encode_text"))

    return build


@pytest.mark.parametrize("variant, count", [("RN50", 38_316_896), ("ViT-B/32", 87_849_216)])
def test_image_tower_counts(variant, count):
    model = archs.build("clip", variant=variant)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    init = lambda x: model.init(jax.random.key(0), x, method="encode_image")  # noqa: E731
    params = jax.eval_shape(init, image)["params"]
    assert (
        sum(leaf.size for name in params if name.startswith("image") for leaf in jax.tree.leaves(params[name])) == count
    )


@pytest.mark.parametrize("end_token", [None, 19])
def test_a_text_is_read_at_its_end_token(end_token, texts):
    embed = texts(end_token=end_token)
    expected = embed(TOKENS)
    np.testing.assert_allclose(jnp.linalg.norm(expected, axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(embed(TOKENS.at[0, 4:].set(jnp.array([3, 9, 19]))), expected, atol=1e-6)
    assert np.abs(embed(TOKENS.at[0, 0].set(17)) - expected)[0].max() > 1e-3
    np.testing.assert_allclose(embed(TOKENS.at[0, 4].set(99), MASK), expected, atol=1e-6)
    before = jnp.array([[2, 2, 18, 4, 5, 19]])
    real = before != 2
    shifted = embed(before, real)
    np.testing.assert_allclose(embed(before.at[0, :2].set(19), real), shifted, atol=1e-6)


def test_a_text_without_its_end_token_has_no_embedding(texts):
    wrong = TOKENS.at[0].set(3)
    rows = np.isnan(texts(end_token=19)(wrong)).all(axis=1)
    np.testing.assert_array_equal(rows, [True, False])
    assert np.isfinite(texts()(wrong)).all()


def test_logits_are_scaled_cosines(random_variables):
    model = archs.build("clip", **CASES["vit"])
    variables = random_variables(model, IMAGE, TOKENS, MASK)
    variables["params"]["log_scale"] = jnp.log(1 / 0.07)
    image = model.apply(variables, IMAGE, method="encode_image")
    text = model.apply(variables, TOKENS, MASK, method="encode_text")
    logits = jax.jit(model.apply)(variables, IMAGE, TOKENS, MASK)
    np.testing.assert_allclose(logits, image @ text.T / 0.07, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.apply(variables, image, text[:1], method="logits"), logits[:, :1], atol=1e-4)


def test_the_temperature_starts_at_seven_hundredths():
    model = archs.build("clip", **CASES["vit"])
    params = jax.jit(model.init)(jax.random.key(0), IMAGE, TOKENS, MASK)["params"]
    np.testing.assert_allclose(jnp.exp(params["log_scale"]), 1 / 0.07, rtol=1e-6)


def deviations(module, *inputs):
    """Of kernels, embeddings and the like at the start, by path."""
    quickly = {"xla_backend_optimization_level": 0}
    params = jax.jit(module.init, compiler_options=quickly)(jax.random.key(0), *inputs)["params"]
    flat = flatten_dict(params, sep="/")
    return {path: float(np.std(leaf)) for path, leaf in flat.items() if not path.endswith(("bias", "scale"))}


def test_towers_start_with_the_deviations_of_the_release():
    """Those of OpenAI's code (clip/model.py), for images 256 and texts 192 wide."""
    sizes = {"image_hidden_size": 256, "text_hidden_size": 192, "embedding_size": 128, "head_size": 64}
    sizes |= {"num_text_layers": 2, "vocab_size": 100, "max_length": 77}
    model = archs.build("clip", **{**SMALL, **sizes}, scan_layers=True)
    found = deviations(model, IMAGE, TOKENS)
    inputs = ("attention/query", "attention/key", "attention/value")
    others = ("attention/output", "mlp/inner", "mlp/outer")
    text = {**dict.fromkeys(inputs, 192), **dict(zip(others, (4 * 192, 2 * 192, 4 * 192), strict=True))}
    image = {**dict.fromkeys(inputs, 2 * 256), **dict(zip(others, (3 * 256, 3 * 256, 3 * 4 * 256), strict=True))}
    expected = {
        **{f"text_blocks/layers/{name}/kernel": inverse**-0.5 for name, inverse in text.items()},
        **{f"image/blocks/layers/{name}/kernel": inverse**-0.5 for name, inverse in image.items()},
        "text_embedding/embedding": 0.02,
        "text_positions/embedding": 0.01,
        "text_projection/kernel": 192**-0.5,
        "image/patches/kernel": (3 * 3 * 8 * 8) ** -0.5,
        "image/token": 256**-0.5,
        "image/positions/embedding": 256**-0.5,
        "image_projection/kernel": 256**-0.5,
    }
    assert found == pytest.approx(expected, rel=0.1)


def test_the_pool_of_the_resnet_starts_with_the_deviations_of_the_release():
    found = deviations(clip.AttentionPool(num_heads=4, features=64), jnp.zeros((1, 4, 4, 256)))
    parts = ("positions/embedding", *(f"{name}/kernel" for name in ("query", "key", "value", "output")))
    assert found == pytest.approx(dict.fromkeys(parts, 256**-0.5), rel=0.05)


@pytest.mark.parametrize("scale, limited, rises, falls", [(50, 50, 1, 1), (100.001, 100, 0, 1), (200, 100, 0, 1)])
def test_the_scale_stays_at_most_a_hundred_and_finds_its_way_back(scale, limited, rises, falls):
    log_scale = jnp.log(jnp.float32(scale))
    np.testing.assert_allclose(jnp.exp(clip.limit(log_scale)), limited, rtol=1e-5)
    assert jax.grad(lambda x: -clip.limit(x))(log_scale) == -rises  # descent would raise the scale
    assert jax.grad(clip.limit)(log_scale) == falls


def test_a_class_is_the_mean_direction_of_its_prompts():
    embeddings = jnp.array([[[2.0, 0.0], [0.0, 5.0]], [[0.0, 3.0], [0.0, 1.0]]])
    half = 2**-0.5
    np.testing.assert_allclose(clip.zero_shot_classifier(embeddings), [[half, half], [0, 1]], atol=1e-6)


@pytest.mark.parametrize("downsampling", ["average", "stride"])
def test_averaged_shortcuts_read_all_places_alike(downsampling):
    block = resnet.Block("bottleneck", 2, 2, "zero", zero_init_residual=True, downsampling=downsampling)
    x = jnp.asarray(RNG.normal(size=(1, 4, 4, 3)), jnp.float32)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    swapped = x.reshape(1, 2, 2, 2, 2, 3)[:, :, ::-1, :, ::-1].reshape(x.shape)  # inside windows of 2×2
    apply = jax.jit(block.apply)
    assert np.allclose(apply(variables, x), apply(variables, swapped), atol=1e-6) == (downsampling == "average")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"text_mixer_kwargs": {"kernel": "plain"}}, "clip: text_mixer_kwargs goes with text_mixer; name it too"),
        ({"image_tower": "resnet"}, "clip: patch_size and num_image_layers go with image_tower='vit' only"),
        ({"stage_sizes": (1,)}, "clip: stage_sizes goes with image_tower='resnet' only"),
        ({**CASES["resnet"], "stage_sizes": ()}, "clip: stage_sizes is empty"),
        ({**CASES["resnet"], "stage_sizes": (1,) * 5}, "clip: image is 16×16 pixels; 5 stages need at least 63×63"),
        ({**CASES["resnet"], "head_size": 24}, "clip: the image tower is 64 wide, which head_size=24 does not divide"),
        ({"head_size": 12}, "clip: the image tower is 16 wide, which head_size=12 does not divide"),
        ({"text_hidden_size": 20}, "clip: the text tower is 20 wide, which head_size=8 does not divide"),
        ({"end_token": 20}, "clip: end_token is 20; allowed: from 0 to 19, or None"),
        ({"patch_size": 5}, "vit: image is 16×16 pixels, which patch_size=5 does not divide"),
        ({"max_length": 6}, "positions: the input has 7 tokens, and max_length is 6"),
    ],
)
def test_mistakes_are_named(fields, message):
    small = fields if "image_tower" in fields and "stage_sizes" in fields else {**SMALL, **fields}
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(lambda: archs.build("clip", **small).init(jax.random.key(0), IMAGE, TOKENS, MASK))
    assert "\n" not in str(error.value)
