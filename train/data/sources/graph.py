"""One graph in a file, whose nodes are classified: some with known labels, the others by what they are linked with.

As Kipf & Welling (2017, https://arxiv.org/abs/1609.02907) train on citation networks: every split has the same graph,
and other nodes whose labels count.
"""

import dataclasses
import functools
import io
from collections.abc import Mapping

import numpy as np

from train.data import files
from train.data.arrays import InMemory
from train.errors import UserError

FIELD = "config.data.source"
SPLITS = {"train": "train_idx", "validation": "val_idx", "test": "test_idx"}


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives one example in each split: `nodes` [N, D], `senders` and `receivers` [2 E], every link in both directions,
    `label` [N], and `label_mask` [N], the nodes of the split. All is real by `node_mask` [N] and `edge_mask` [2 E].

    The file is an .npz with the arrays

        edges [E, 2]                        nodes that are linked, from 0; each link once, in any direction
        labels [N]                          the class of each node, from 0
        train_idx, val_idx, test_idx        nodes of the splits, none in two; one of the last two may be missing
        features [N, D]                     attributes of nodes; or, of those that are not 0,
        feat_row, feat_col, feat_val [M]    node, place and value; then num_features says D, else the largest place

    Attributes:
        path: the file, or a folder or an archive that holds one such file; from here or from the folder that DATA_DIR
            names.
        normalize_features: whether the features of each node are divided by their sum, as in the paper.
    """

    path: str
    normalize_features: bool = True

    @property
    def num_classes(self) -> int:
        return int(self._arrays["labels"].max()) + 1

    def splits(self) -> tuple[str, ...]:
        return tuple(split for split, indices in SPLITS.items() if indices in self._arrays)

    def split(self, name: str) -> InMemory:
        arrays = self._arrays
        label = arrays["labels"]
        ends = np.concatenate([arrays["edges"], arrays["edges"][:, ::-1]])
        example = {
            "nodes": self._nodes(),
            "senders": ends[:, 0].astype(np.int32),
            "receivers": ends[:, 1].astype(np.int32),
            "node_mask": np.ones(len(label), bool),
            "edge_mask": np.ones(len(ends), bool),
            "label": label.astype(np.int32),
            "label_mask": np.isin(np.arange(len(label)), arrays[SPLITS[name]]),
        }
        return InMemory({key: value[None] for key, value in example.items()})

    def _nodes(self) -> np.ndarray:
        """Features [N, D] as float32."""
        arrays = self._arrays
        if "features" in arrays:
            nodes = arrays["features"].astype(np.float32)
        else:
            nodes = np.zeros((len(arrays["labels"]), _width(arrays)), np.float32)
            nodes[arrays["feat_row"], arrays["feat_col"]] = arrays["feat_val"]
        if not self.normalize_features:
            return nodes
        if nodes.min() < 0:
            raise UserError(f"{FIELD}.normalize_features: features below 0 cannot be parts of a sum; set it to False.")
        total = nodes.sum(axis=1, keepdims=True)
        return nodes / np.where(total == 0, 1, total)

    @functools.cached_property
    def _arrays(self) -> Mapping[str, np.ndarray]:
        """What is in the file, checked."""
        opened = files.opened(self.path, f"{FIELD}.path")
        names = [name for name in opened.names() if name.removesuffix(".gz").endswith(".npz")]
        if len(names) != 1:
            raise UserError(f"{FIELD}.path: {opened.place} has {len(names)} files that end in .npz; name the one.")
        arrays = _read(opened.contents(names)[names[0]], names[0])
        _check(arrays, names[0])
        return arrays


def _read(content: bytes, name: str) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
            return {key: loaded[key] for key in loaded}
    except Exception as error:  # Anything may come of reading a damaged file.
        raise UserError(f"{name}: is no .npz file that can be read: {error}") from error


def _width(arrays: Mapping[str, np.ndarray]) -> int:
    """D, how many features a node has."""
    return int(arrays["num_features"].item()) if "num_features" in arrays else int(arrays["feat_col"].max()) + 1


def _check(arrays: Mapping[str, np.ndarray], name: str) -> None:
    """Refuses a file that lacks an array, or whose arrays do not fit each other."""
    features = ("features",) if "features" in arrays else ("feat_row", "feat_col", "feat_val")
    splits = [split for split in SPLITS.values() if split in arrays]
    for key in ("edges", "labels", *features, "train_idx", *splits):
        if key not in arrays:
            raise UserError(f"{name}: has no array {key!r}, but {', '.join(sorted(arrays))}.")
        if arrays[key].size == 0:
            raise UserError(f"{name}: its array {key!r} is empty.")
        if key not in ("edges", "features") and arrays[key].ndim != 1:
            raise UserError(f"{name}: {key!r} is {list(arrays[key].shape)}; it must be a list of numbers.")
    _check_features(arrays, features, name)
    if "val_idx" not in arrays and "test_idx" not in arrays:
        raise UserError(f"{name}: has no array 'val_idx' or 'test_idx'; nothing could be measured.")
    nodes, edges = len(arrays["labels"]), arrays["edges"]
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise UserError(f"{name}: 'edges' is {list(edges.shape)}; it must be [E, 2].")
    if "features" in arrays and (arrays["features"].ndim != 2 or len(arrays["features"]) != nodes):
        raise UserError(
            f"{name}: 'features' is {list(arrays['features'].shape)}; it must be [{nodes}, D], as 'labels'."
        )
    limits = {"edges": nodes, "labels": None, **dict.fromkeys(splits, nodes)}
    if "features" not in arrays:
        limits |= {"feat_row": nodes, "feat_col": _width(arrays)}
    for key, limit in limits.items():
        _check_numbers(arrays[key], limit, f"{name}: {key!r}")
    _check_links(edges, name)
    indices = np.concatenate([arrays[split] for split in splits])
    values, counts = np.unique(indices, return_counts=True)
    if (counts > 1).any():
        raise UserError(f"{name}: node {values[counts > 1][0]} is in {' and '.join(splits)} more than once.")


def _check_features(arrays: Mapping[str, np.ndarray], keys: tuple[str, ...], name: str) -> None:
    """Refuses features that are no finite numbers, are not as many as their places, or whose number is none."""
    lengths = {key: len(arrays[key]) for key in keys}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{name}: {', '.join(f'{key!r} has {length}' for key, length in lengths.items())} entries.")
    values = arrays[keys[-1]]
    if values.dtype.kind not in "iufb" or not np.isfinite(values).all():
        raise UserError(f"{name}: {keys[-1]!r} must be finite numbers.")
    count = arrays.get("num_features")
    if count is not None and (count.dtype.kind not in "iu" or count.size != 1):
        raise UserError(f"{name}: 'num_features' must be one integer.")


def _check_numbers(values: np.ndarray, limit: int | None, what: str) -> None:
    """Refuses what are no integers from 0 to below the limit."""
    if values.dtype.kind not in "iu":
        raise UserError(f"{what} must be integers, and it is {values.dtype}.")
    outside = values[(values < 0) | (False if limit is None else values >= limit)]
    if outside.size:
        most = "on" if limit is None else f"to {limit - 1}"
        raise UserError(f"{what} has {outside.flat[0]}, which is not from 0 {most}.")


def _check_links(edges: np.ndarray, name: str) -> None:
    """Refuses links that would be there twice: both directions are made of each."""
    links, counts = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    for wrong, what in ((links[links[:, 0] == links[:, 1]], "of a node with itself"), (links[counts > 1], "twice")):
        if len(wrong):
            raise UserError(f"{name}: 'edges' has the link {wrong[0][0]}-{wrong[0][1]} {what}; leave it out.")
