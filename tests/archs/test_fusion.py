"""Fusion: what is missing or masked changes nothing, whichever way modalities meet."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs.fusion import Tokenize
from archs.layers.attention import MultiHeadAttention

ALL = ("sequence", "image", "audio", "tokens", "video")
SMALL = {"modalities": ALL, "hidden_sizes": (8,), "num_layers": 1, "num_heads": 2, "mlp_size": 16}
SIZES = {"patch_size": 4, "frame_size": 3, "vocab_size": 10}
CASES = {
    "cross_attention": {**SMALL, **SIZES, "hidden_sizes": (16, 8, 8, 8, 8), "fusion": "cross_attention"},
    "single_stream": {
        **SMALL,
        **SIZES,
        "fusion": "single_stream",
        "num_layers": 2,
        "activation": "relu",
        "norm_epsilon": 1e-5,
        "mixer": "dense",
        "mixer_kwargs": {"dropout_rate": 0.1},
        "scan_layers": True,
        "remat": "full",
    },
    "concat": {**SMALL, **SIZES, "fusion": "concat", "tubelet_size": 3, "positions": "sinusoidal"},
    "late": {**SMALL, **SIZES, "fusion": "late", "positions": "none"},
}
RNG = np.random.default_rng(0)
INPUTS = {
    "image": RNG.normal(size=(2, 8, 4, 1)).astype(np.float32),
    "audio": RNG.normal(size=(2, 9)).astype(np.float32),
    "tokens": RNG.integers(10, size=(2, 4)).astype(np.int32),
    "video": RNG.normal(size=(2, 3, 4, 4, 2)).astype(np.float32),
    "sequence": RNG.normal(size=(2, 5, 3)).astype(np.float32),
    "image_mask": np.array([True, True]),
    "audio_mask": np.arange(9) < np.array([[9], [6]]),
    "tokens_mask": np.arange(4) < np.array([[3], [4]]),
    "video_mask": np.arange(3) < np.array([[3], [1]]),
    "sequence_mask": np.arange(5) < np.array([[5], [2]]),
}
VALUES = {name: jnp.asarray(INPUTS[name]) for name in ALL}
MASKS = {f"{name}_mask": jnp.asarray(INPUTS[f"{name}_mask"]) for name in ALL}


def block(width: int, mlp: int, memory: int | None = None) -> int:
    """Parameters of one block, with attention to a memory of this width if there is one."""
    attention = 4 * width * (width + 1) + 2 * width
    cross = 0 if memory is None else 2 * width * (width + 1) + 2 * width * (memory + 1) + 2 * width
    return attention + cross + 2 * mlp * width + mlp + 3 * width


WORDS = 64 * (49 + 1 + 16) + 64 * (100 + 1 + 40)  # maps of 16 patches and 40 frames, and their positions
ENCODER = 2 * block(64, 256) + 3 * 64  # with class token and last normalisation
COUNTS = [
    ({"variant": "cross_attention", "num_classes": 10}, WORDS + 2 * block(64, 256, 64) + 3 * 64 + ENCODER + 650),
    ({"variant": "single_stream", "num_classes": 10}, WORDS + ENCODER + 2 * 64 + 650),
    ({"variant": "concat", "num_classes": 10}, WORDS + 2 * ENCODER + 1290),
    ({"variant": "late", "num_classes": 10}, WORDS + 2 * ENCODER + 2 * 650),
]


COMPILED: dict[str, tuple] = {}


@pytest.fixture(params=CASES)
def fused(request, random_variables):
    """A model with all modalities, of one kind of fusion: variables, and its compiled function of them and inputs."""
    if request.param not in COMPILED:
        model = archs.build("fusion", num_classes=3, **CASES[request.param])
        variables = random_variables(model, **VALUES)
        COMPILED[request.param] = variables, jax.jit(lambda variables, inputs: model.apply(variables, **inputs))
    return COMPILED[request.param]


def spoil(name: str, mask: jax.Array) -> jax.Array:
    """The values of a modality with garbage where the mask is False."""
    garbage = -7 if name == "tokens" else jnp.nan
    return jnp.where(mask.reshape(mask.shape + (1,) * (VALUES[name].ndim - mask.ndim)), VALUES[name], garbage)


def test_masked_steps_change_nothing(fused):
    variables, apply = fused
    spoilt = {name: spoil(name, MASKS[f"{name}_mask"]) for name in ALL}

    @jax.jit
    def gradients(variables, floats):
        def loss(variables, floats):
            outputs = apply(variables, {**spoilt, **floats, **MASKS})
            return (outputs * jnp.arange(1.0, 4)[None]).sum(), outputs

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, floats)

    floats = [{name: values[name] for name in ALL if name != "tokens"} for values in (VALUES, spoilt)]
    (gradient, _), outputs = gradients(variables, floats[0])
    (same, input_gradient), again = gradients(variables, floats[1])
    np.testing.assert_array_equal(again, outputs)
    jax.tree.map(np.testing.assert_array_equal, same, gradient)
    for name, value in input_gradient.items():
        read = np.abs(value).reshape(*value.shape[: MASKS[f"{name}_mask"].ndim], -1).max(axis=-1) > 0
        np.testing.assert_array_equal(read, MASKS[f"{name}_mask"])


@pytest.mark.parametrize("fusion", list(CASES))
def test_masked_steps_at_the_end_might_as_well_be_cut_off(fusion, random_variables):
    fields = {**SMALL, "modalities": ("sequence", "tokens"), "vocab_size": 10, "positions": "sinusoidal"}
    model = archs.build("fusion", num_classes=3, **fields, fusion=fusion)
    inputs = {"sequence": VALUES["sequence"], "tokens": VALUES["tokens"]}
    variables = random_variables(model, **inputs)
    apply = jax.jit(model.apply)
    expected = apply(variables, **{**inputs, "tokens": inputs["tokens"][:, :3]})
    masked = apply(variables, **inputs, tokens_mask=jnp.arange(4)[None] < jnp.array([[3], [3]]))
    np.testing.assert_allclose(masked, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(apply(variables, **inputs) - expected).max() > 1e-3


@pytest.mark.parametrize("missing", [("sequence",), ("image", "audio", "tokens", "video"), ALL[:-1]])
def test_a_masked_modality_might_as_well_be_missing(fused, missing):
    """In one example, and in all, where it may be None. One modality is enough, the one that asks or another."""
    variables, apply = fused
    expected = apply(variables, {name: value for name, value in VALUES.items() if name not in missing})

    def masked(present: list[bool]) -> jax.Array:
        masks = {name: jnp.array(present if name in missing else [True, True]) for name in ALL}
        spoilt = {name: spoil(name, mask) for name, mask in masks.items()}
        return apply(variables, {**spoilt, **{f"{name}_mask": mask for name, mask in masks.items()}})

    np.testing.assert_allclose(masked([False, False]), expected, rtol=1e-5, atol=1e-5)
    full, mixed = masked([True, True]), masked([False, True])
    np.testing.assert_allclose(mixed[0], expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mixed[1], full[1], rtol=1e-5, atol=1e-5)
    assert np.abs(full - expected).min(axis=1).max() > 1e-3


@pytest.mark.parametrize("fusion", list(CASES))
@pytest.mark.parametrize("positions", ["learned", "none"])
def test_order_matters_only_with_positions(fusion, positions, random_variables):
    fields = {**SMALL, "modalities": ("image", "sequence"), "patch_size": 4}
    model = archs.build("fusion", num_classes=3, **fields, fusion=fusion, positions=positions)
    inputs = {"image": VALUES["image"], "sequence": VALUES["sequence"]}
    variables = random_variables(model, **inputs)
    apply = jax.jit(model.apply)
    order = jnp.array([3, 1, 0, 4, 2])
    moved = {"image": VALUES["image"][:, jnp.array([4, 5, 6, 7, 0, 1, 2, 3])], "sequence": VALUES["sequence"][:, order]}
    expected = apply(variables, **inputs)
    for name, value in moved.items():
        change = np.abs(apply(variables, **{**inputs, name: value}) - expected).max()
        assert (change < 1e-5) == (positions == "none")


@pytest.mark.parametrize("case, width", [("cross_attention", 16), ("single_stream", 8), ("concat", 40), ("late", 8)])
def test_without_a_head_features_come_out(case, width):
    model = archs.build("fusion", num_classes=None, **CASES[case])
    features, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), **VALUES))
    assert features.shape == (2, width) and not any(name.startswith("head") for name in variables["params"])


def test_late_fusion_is_the_mean_of_what_single_modalities_say(random_variables):
    model = archs.build("fusion", num_classes=3, **CASES["late"])
    variables = random_variables(model, **VALUES)
    apply = jax.jit(model.apply)
    masks = {f"{name}_mask": jnp.zeros(2, bool) for name in ALL}
    there = jnp.ones(2, bool)
    single = [apply(variables, **VALUES, **{**masks, f"{name}_mask": there}) for name in ALL]
    together = apply(variables, **VALUES, **dict.fromkeys(masks, there))
    np.testing.assert_allclose(together, np.mean(single, axis=0), rtol=1e-5, atol=1e-5)


def test_one_modality_is_a_plain_transformer(random_variables):
    """Concat of one is a Vision Transformer with a class token; the place of the token is a parameter there."""
    fields = {"patch_size": 4, "num_layers": 1, "num_heads": 2, "mlp_size": 16, "num_classes": 3}
    image = VALUES["image"]
    model = archs.build("fusion", modalities=("image",), fusion="concat", hidden_sizes=(8,), **fields)
    params = random_variables(model, image=image)["params"]
    tokens, encoder = params["tokenize_image"], params["encode_image"]
    places = tokens["positions"]["embedding"]
    vit = {
        "patches": tokens["patches"],
        "positions": {"embedding": jnp.concatenate([jnp.zeros((1, 8)), places])},
        "head": params["head"],
        **encoder,
    }
    expected = jax.jit(archs.build("vit", hidden_size=8, **fields).apply)({"params": vit}, image)
    np.testing.assert_allclose(jax.jit(model.apply)({"params": params}, image=image), expected, rtol=1e-5, atol=1e-5)


def test_cross_attention_to_itself_is_self_attention(random_variables):
    x, mask = VALUES["sequence"], MASKS["sequence_mask"]
    layer = MultiHeadAttention(num_heads=3)
    variables = random_variables(layer, x)
    expected = layer.apply(variables, x, mask=mask)
    np.testing.assert_allclose(layer.apply(variables, x, x, mask=mask), expected, rtol=1e-5, atol=1e-6)


def test_spectrograms_are_cut_into_rows(random_variables):
    """Three rows of two bands make a token as six samples do."""
    waveform = jnp.asarray(RNG.normal(size=(2, 12)), jnp.float32)
    fields = {"modalities": ("audio",), "fusion": "concat", "num_classes": 3, "num_layers": 1}
    samples = archs.build("fusion", **fields, frame_size=6)
    rows = archs.build("fusion", **fields, frame_size=3)
    variables = random_variables(samples, audio=waveform)
    spectrogram = waveform.reshape(2, 6, 2)
    np.testing.assert_allclose(
        rows.apply(variables, audio=spectrogram), samples.apply(variables, audio=waveform), rtol=1e-5, atol=1e-6
    )


def test_tubelets_are_a_convolution_over_time_and_place():
    """What is masked counts as black; a tubelet is real where one of its frames is."""
    video = jnp.asarray(RNG.normal(size=(2, 4, 4, 8, 3)), jnp.float32)
    mask = jnp.asarray(np.arange(4) < np.array([[4], [1]]))
    layer = Tokenize("video", hidden_size=5, size=4, frames=2, positions="none")
    (tokens, real), variables = layer.init_with_output(jax.random.key(0), video, mask)
    np.testing.assert_array_equal(real, [[True] * 4, [True, True, False, False]])
    kernel = variables["params"]["patches"]["kernel"].reshape(4, 4, 2, 3, 5)
    black = jnp.where(mask[..., None, None, None], video, 0)
    expected = jnp.einsum("btfiwjc,ijfco->btwo", black.reshape(2, 2, 2, 4, 2, 4, 3), kernel).reshape(2, 4, 5)
    np.testing.assert_allclose(tokens, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"modalities": ("image", "sound")}, r"fusion: modality 'sound' is unknown; .*allowed: image, audio, tokens"),
        ({"modalities": ("image",)}, r"fusion: modalities is \('image',\); fusion='cross_attention' needs at least 2"),
        (
            {"modalities": (), "fusion": "late"},
            r"fusion: modalities is \(\); fusion='late' needs at least 1, each once",
        ),
        ({"modalities": ("image", "image")}, "fusion: modalities is .* each once"),
        (
            {"hidden_sizes": (8, 8)},
            "fusion: hidden_sizes has 2 entries for 5 modalities; give one for all, or one each",
        ),
        ({"num_heads": 3}, r"fusion: num_heads=3 does not divide all of hidden_sizes=\(8,\)"),
        (
            {"hidden_sizes": (8, 8, 8, 8, 16)},
            "fusion: fusion='cross_attention' needs one width for all modalities but the first, and hidden_sizes is",
        ),
        (
            {"hidden_sizes": (16, 8, 8, 8, 8), "fusion": "single_stream"},
            "fusion: fusion='single_stream' needs one width for all modalities, and hidden_sizes is",
        ),
        ({"hidden_sizes": (16, 8, 8, 8, 8), "fusion": "late", "num_classes": None}, "fusion='late' needs one width"),
        ({"patch_size": None}, "fusion: patch_size is missing; the modality image or video needs it"),
        ({"modalities": ("image", "audio")}, "fusion: vocab_size goes with the modality tokens only; leave it out"),
        ({"modalities": ALL[:4]}, "fusion: video is given, and modalities is"),
        ({"patch_size": 3}, "fusion: image is 8×4, which patch_size=3 does not divide; cut or pad it"),
        ({"frame_size": 2}, "fusion: audio is 9, which frame_size=2 does not divide"),
        ({"tubelet_size": 2}, "fusion: video is 3, which tubelet_size=2 does not divide"),
        (
            {"modalities": ALL[:4], "tubelet_size": 3},
            "fusion: tubelet_size=3 goes with the modality video only; leave it out",
        ),
    ],
)
def test_mistaken_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        model = archs.build("fusion", **{"num_classes": 3, **SMALL, **SIZES, **fields})
        jax.eval_shape(lambda: model.init(jax.random.key(0), **VALUES))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, initialise, message",
    [
        ({"image": None}, True, "fusion: image is missing; initialise with all modalities"),
        (dict.fromkeys(ALL), False, "fusion: no modality is given"),
        ({"image": None, "image_mask": jnp.ones(2, bool)}, False, "fusion: image has a mask and no values"),
        (
            {"tokens_mask": jnp.ones((2, 5), bool)},
            False,
            r"fusion: tokens_mask is \(2, 5\); allowed: \(2,\) or \(2, 4\)",
        ),
    ],
)
def test_mistaken_inputs_are_named(change, initialise, message):
    model = archs.build("fusion", num_classes=3, **SMALL, **SIZES)
    with pytest.raises(ValueError, match=message) as error:
        inputs = {**VALUES, **change}
        if initialise:
            jax.eval_shape(lambda: model.init(jax.random.key(0), **inputs))
        else:
            jax.eval_shape(lambda: model.apply({}, **inputs))
    assert "\n" not in str(error.value)
