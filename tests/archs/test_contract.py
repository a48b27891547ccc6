"""What every architecture promises. Its own test file gives small models, `CASES`, their `INPUTS`, and `COUNTS`."""

import dataclasses
import importlib
import importlib.util
import inspect
import math
from types import ModuleType

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax.errors import InvalidRngError
from jax import numpy as jnp

import archs

# What an architecture's own test file says of it: small models that together reach every field, the input of all or of
# some by name, and sizes. './launch.sh test' tests the first model, unless it is said to be slow, and --all the others.
FILES: dict[str, ModuleType | None] = {}
for _name in archs.names():
    found = importlib.util.find_spec(f"tests.archs.test_{_name}")
    FILES[_name] = importlib.import_module(found.name) if found else None
CASES = {f"{name}-{case}": (name, case) for name, file in FILES.items() if file for case in file.CASES}
COUNTS = [(name, *count) for name, file in FILES.items() if file for count in file.COUNTS]
COMPUTED: dict[str, tuple] = {}
KEYS = {
    *(
        "image",
        "sequence",
        "features",
        "mask",
        "source",
        "source_mask",
        "target",
        "target_mask",
        "tokens",
        "token_types",
        "tokens_2",
        "mask_2",
    ),
    *("nodes", "edges", "globals", "senders", "receivers", "node_mask", "edge_mask"),
    *("audio", "video", "image_mask", "audio_mask", "tokens_mask", "video_mask", "sequence_mask"),
}


def make(case: str, **fields) -> tuple[nn.Module, dict[str, jax.Array]]:
    name, own = CASES[case]
    file = FILES[name]
    fields = {"num_classes": 3, **file.CASES[own], **fields}
    if "num_classes" not in {field.name for field in dataclasses.fields(archs.model_class(name))}:
        del fields["num_classes"]
    inputs = getattr(file, "OTHER_INPUTS", {}).get(own, file.INPUTS)
    return archs.build(name, **fields), {key: jnp.asarray(value) for key, value in inputs.items()}


def example(name: str, shapes: dict[str, jax.ShapeDtypeStruct] | None = None) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of one."""
    shapes = archs.example(name) if shapes is None else shapes
    return {key: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype) for key, leaf in shapes.items()}


def output_shape(model: nn.Module, inputs: dict[str, jax.Array]) -> tuple[int, ...]:
    """The dimensions of the outputs but the last."""
    if has_heads(model):
        return inputs["tokens"].shape[: 1 if model.head == "sequence" else 2]
    per_place = {"all": "sequence" if "sequence" in inputs else "tokens", "nodes": "nodes", "edges": "senders"}
    key = "target" if "target" in inputs else per_place.get(getattr(model, "outputs", None))
    return inputs[key].shape[:2] if key else next(iter(inputs.values())).shape[:1]


def has_heads(model: nn.Module | type[nn.Module]) -> bool:
    """Whether it is a model of tokens whose field `head` says which of several there is."""
    return isinstance(getattr(model, "head", None), str)


def count_parameters(variables) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def is_first(name: str, own: str) -> bool:
    return own == next(iter(FILES[name].CASES))


def marked(case: str):
    """Of each architecture the first small model is tested always, unless it is said to be slow."""
    name, own = CASES[case]
    is_slow = own in getattr(FILES[name], "SLOW", ()) or not is_first(name, own)
    return pytest.param(case, marks=[pytest.mark.slow] if is_slow else [])


@pytest.fixture(params=map(marked, CASES))
def case(request) -> str:
    return request.param


@pytest.mark.parametrize("name", archs.names())
def test_has_small_models_and_tests(name):
    assert FILES[name] is not None, f"tests/archs/test_{name}.py is missing"
    reached = {field for fields in FILES[name].CASES.values() for field in fields}
    if "variant" in reached:
        reached |= {field for fields in archs.variants(name).values() for field in fields}
    own = {field.name for field in dataclasses.fields(archs.model_class(name))} - {"parent", "name"}
    assert own - reached <= {"num_classes", "dropout_rate", "dtype", "param_dtype"}


@pytest.mark.parametrize("name", archs.names())
def test_declaration(name):
    model = archs.model_class(name)
    assert model.view in {"image", "rows", "pixels", "flat", "graph", "tokens"}
    assert model.__module__ == f"archs.{name}"
    parameters = inspect.signature(model.__call__).parameters
    assert parameters["train"].kind is inspect.Parameter.KEYWORD_ONLY and parameters["train"].default is False
    assert set(parameters) - {"self", "train", "decode"} <= KEYS
    assert set(archs.example(name)) <= set(parameters)
    fields = {field.name: field for field in dataclasses.fields(model)}
    if "num_classes" in fields:
        assert fields["num_classes"].type == int | None
        assert (fields["num_classes"].default is dataclasses.MISSING) == (not has_heads(model))
    assert fields["dtype"].default == fields["param_dtype"].default == "float32"


def test_models_hash_by_their_fields(case):
    model, _ = make(case)
    assert hash(model) == hash(make(case)[0]) and model == make(case)[0]


def test_shapes(case):
    model, inputs = make(case)
    outputs, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), **inputs))
    expected = output_shape(model, inputs)
    assert outputs.shape == (*expected, getattr(model, "num_classes", None) or outputs.shape[-1])
    assert outputs.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    if not hasattr(model, "num_classes") or has_heads(model):
        return
    headless, _ = make(case, num_classes=None)
    features, fewer = jax.eval_shape(lambda: headless.init_with_output(jax.random.key(0), **inputs))
    assert features.shape[:-1] == expected and features.shape[-1] > 3 and features.dtype == jnp.float32
    if "head" in variables["params"]:
        assert count_parameters(variables) - count_parameters(fewer) == (features.shape[-1] + 1) * 3


@pytest.fixture
def computed(case, random_variables):
    """Model, inputs, variables and outputs of a case; compiled once."""
    if case not in COMPUTED:
        model, inputs = make(case)
        variables = random_variables(model, **inputs)
        COMPUTED[case] = model, inputs, variables, jax.jit(model.apply)(variables, **inputs)
    return COMPUTED[case]


@pytest.mark.parametrize("case", [marked(case) for case, one in CASES.items() if is_first(*one)])
def test_jit_equals_eager(computed):
    """Of the first small model of each architecture: without jit, every operation is compiled by itself."""
    model, inputs, variables, outputs = computed
    np.testing.assert_allclose(outputs, model.apply(variables, **inputs), rtol=1e-5, atol=1e-5)


def test_gradient_reaches_every_parameter(computed):
    model, inputs, variables, outputs = computed
    weights = np.random.default_rng(1).normal(size=outputs.shape)

    def loss(params):
        return jnp.sum(model.apply({**variables, "params": params}, **inputs) * weights)

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        path = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), path
        if not path.endswith("['key']['bias']"):  # adds the same to all scores of a query, so softmax ignores it
            assert np.abs(gradient).max() > 1e-6, path


def test_dropout_acts_in_training_only(case, computed):
    still, inputs, variables, _ = computed
    model, _ = make(case, dropout_rate=0.5)

    @jax.jit
    def training(key):
        rngs = {"dropout": key}
        return model.apply(variables, **inputs, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    one, again, other = (training(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    evaluation, without = (jax.make_jaxpr(m.apply)(variables, **inputs) for m in (model, still))
    assert str(evaluation) == str(without)


def test_evaluation_needs_no_key(case):
    model, inputs = make(case, dropout_rate=0.5)
    variables = jax.eval_shape(model.init, {"params": jax.random.key(0)}, **inputs)
    jax.eval_shape(model.apply, variables, **inputs)
    with pytest.raises(InvalidRngError):
        jax.eval_shape(lambda v: model.apply(v, **inputs, train=True, mutable=["batch_stats"]), variables)


def test_bfloat16_computes_with_float32_parameters(case, computed):
    _, inputs, variables, expected = computed
    low, _ = make(case, dtype="bfloat16")
    shapes = jax.eval_shape(low.init, jax.random.key(0), **inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    outputs = jax.jit(low.apply)(variables, **inputs)
    assert outputs.dtype == jnp.float32
    assert not np.array_equal(outputs, expected), "the computation was not in bfloat16"
    np.testing.assert_allclose(outputs, expected, rtol=0.05, atol=0.02 * np.abs(expected).max())


def test_float64_computes_in_float64(case):
    with jax.enable_x64(True):
        model, inputs = make(case, dtype="float64", param_dtype="float64")
        outputs, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), **inputs))
        assert outputs.dtype == jnp.float64
        assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float64")}


def test_half_precision_inputs_are_accepted(case):
    model, inputs = make(case)
    halves = {k: v.astype(jnp.bfloat16) if v.dtype == jnp.float32 else v for k, v in inputs.items()}
    outputs = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), **halves)[0])
    assert outputs.dtype == jnp.float32


@pytest.mark.parametrize("count", COUNTS, ids=lambda count: f"{count[0]}-{'-'.join(map(str, count[1].values()))}")
def test_parameter_counts(count):
    """Published or agreed sizes, on the input that the architecture was made for or on the one given."""
    name, fields, expected, *shapes = count
    model = archs.build(name, **fields)
    inputs = example(name, *shapes)
    outputs, variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), **x), inputs)
    assert count_parameters(variables) == expected
    assert outputs.shape[-1] == (fields.get("num_classes") or outputs.shape[-1])


COUNTED = {(name, fields.get("variant")) for name, fields, *_ in COUNTS}
OTHERS = [(name, v) for name in archs.names() for v in archs.variants(name) if (name, v) not in COUNTED]


@pytest.mark.parametrize("name, variant", OTHERS)
def test_variants_build(name, variant):
    """Those that are not counted above."""
    known = {field.name for field in dataclasses.fields(archs.model_class(name))}
    sizes = {"num_classes": 10, "source_vocab_size": 10, "target_vocab_size": 10}
    model = archs.build(name, variant=variant, **{field: size for field, size in sizes.items() if field in known})
    outputs = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), **x)[0], example(name))
    assert outputs.shape[-1] == 10


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("vti", {}, r"architecture 'vti' is unknown; did you mean 'vit'\? allowed: .*lenet, lrcn, mlp"),
        ("layers", {}, "architecture 'layers' is unknown"),
        ("vit", {"variant": "B/61"}, r"vit: variant 'B/61' is unknown; did you mean 'B/16'\? allowed: Ti/16"),
        ("mlp", {"variant": "small"}, "mlp: variant 'small' is unknown; allowed: none"),
        (
            "vit",
            {"hiden_size": 8},
            r"vit: field 'hiden_size' is unknown; did you mean 'hidden_size'\? allowed",
        ),
        ("rnn", {"hidden_size": 8}, "rnn: field 'num_classes' is required"),
        ("rnn", {"cell": "lstn", "num_classes": 2}, r"rnn: cell 'lstn' is unknown; did you mean 'lstm'\?"),
        ("rnn", {"activation": "tahn", "num_classes": 2}, r"rnn: activation 'tahn' .* mean 'tanh'\?"),
        (
            "mlp",
            {"dtype": "float23", "num_classes": 2},
            r"mlp: dtype 'float23' is unknown; .* mean 'float32'\?",
        ),
        ("mlp", {"dropout_rate": 1.5, "num_classes": 2}, "mlp: dropout_rate is 1.5; allowed: at least 0 and"),
        ("mlp", {"hidden_sizes": (8, 0), "num_classes": 2}, r"mlp: hidden_sizes is \(8, 0\); .* at least 1"),
        ("rnn", {"num_layers": 0, "num_classes": 2}, "rnn: num_layers is 0; allowed: at least 1"),
    ],
)
def test_mistakes_are_named_when_building(name, fields, message):
    with pytest.raises(ValueError, match=message) as error:
        archs.build(name, **fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, fields, shape, message",
    [
        ("lenet", {}, (1, 8, 8, 1), "lenet: image is 8×8 pixels; .* at least 12×12"),
        (
            "lenet",
            {"output": "rbf"},
            (1, 28, 28, 1),
            "lenet: num_classes is 3, and output='rbf' has codes for 10",
        ),
        ("vit", {"patch_size": 5}, (1, 28, 28, 1), "vit: image is 28×28 pixels, which patch_size=5 does not"),
        ("vit", {"num_heads": 5}, (1, 32, 32, 1), "vit: hidden_size=384 is not divisible by num_heads=5"),
        ("vit", {"mixer": "dence"}, (1, 32, 32, 1), r"mixer 'dence' is unknown; did you mean 'dense'\?"),
        (
            "vit",
            {"mixer_kwargs": {"droput_rate": 0.1}},
            (1, 32, 32, 1),
            r"mixer dense: field 'droput_rate' is unknown; did you mean 'dropout_rate'\?",
        ),
        (
            "vit",
            {"positions": "sinusoidal", "hidden_size": 15, "num_heads": 3},
            (1, 32, 32, 1),
            "positions: 'sinusoidal' needs an even hidden_size, and it is 15",
        ),
        (
            "rnn",
            {"reset_after": True},
            (1, 4, 2),
            "rnn: cell='lstm': field 'reset_after' is unknown; .*forget_bias",
        ),
        (
            "rnn",
            {"cell": "gru", "forget_bias": 1.0},
            (1, 4, 2),
            "rnn: cell='gru': field 'forget_bias' is unknown",
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_computed(name, fields, shape, message):
    model = archs.build(name, **{"num_classes": 3, **fields})
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    assert "\n" not in str(error.value)
