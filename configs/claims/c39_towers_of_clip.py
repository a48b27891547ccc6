"""CLIP was trained with ResNets as vision backbones, and not with Vision Transformers.

It was trained with both: five ResNets and three Vision Transformers (Radford et al., 2021, section 2.4), of which the
best is ViT-L/14 at 336 pixels; the Vision Transformers were about three times as efficient. What can be counted is the
published weights: 102,007,137 numbers with ResNet-50, of which 38,316,896 read images, and 151,277,313 with ViT-B/32,
of which 87,849,216 do. To the letter, no published network of these sizes reads images by patches and attention
without convolutions.

At the full scale both kinds of tower, with as many operations, learn which caption belongs to which digit
(configs/captions.py), and what they come to is shown: at this size it says nothing of CLIP's.
"""

SECTION = "Drawbacks of Transformers Compared to RNNs/GRUs/LSTMs"
SENTENCE = "CLIP … was trained with CNN-based ResNets as vision backbones (and not a ViT-like transformer architecture)"
PUBLISHED = {"RN50": (102_007_137, 38_316_896), "ViT-B/32": (151_277_313, 87_849_216)}
NO_VIT = ("patch_size=None", "num_image_layers=None")


def run(lab):
    rows, transformers = [], 0
    for variant, (whole, of_images) in PUBLISHED.items():
        clip = lab.architecture("clip", {"image": (224, 224, 3), "tokens": (77,)}, variant=variant)
        image = clip.parameters_below("image/", "image_projection/")
        yield lab.equal(f"parameters of CLIP with {variant}", clip.parameters, whole, "paper")
        yield lab.equal(f"parameters of the image tower {variant}", image, of_images, "paper")
        attends = sum(path.startswith("image/blocks/") and path.endswith("query/kernel") for path in clip.tree)
        is_published = clip.parameters == whole and image == of_images
        transformers += is_published and attends > 0
        rows.append([variant, clip.parameters, image, attends])
    yield lab.equal("networks of a published size whose image tower is a Transformer", transformers, 0)
    header = ("image tower", "parameters", "of the image tower", "Transformer layers in it")
    lab.table("Published sizes of CLIP", header, rows)
    if lab.scale == "full":
        at_full_scale(lab)


def at_full_scale(lab):
    """Shows how well two towers that cost as much find captions."""
    towers = {
        "ViT": ("image_hidden_size=128", "patch_size=4", "num_image_layers=4"),
        "ResNet": ("image_tower=resnet", "image_hidden_size=64", "stage_sizes=(2, 2, 2)", *NO_VIT),
    }
    variants = {
        name: lab.load(
            "configs/captions.py:clip", "data.image_size=32", "steps=5000", *(f"model.{field}" for field in fields)
        )
        for name, fields in towers.items()
    }
    widths = {"ResNet": "model.image_hidden_size"}
    study = lab.train("captions", variants, axis=("model",), match="flops", reference="ViT", widths=widths)
    rows = [
        [name, *(100 * value for value in study.values("test/image_to_text_accuracy", name).values())]
        for name in variants
    ]
    header = ("image tower", *(f"seed {seed}" for seed in lab.seeds))
    lab.table("Images that find their caption among 32, %", header, rows)
