"""Any data set prepared by TensorFlow Datasets as ArrayRecord, read without TensorFlow.

Looks in `data_dir`, else in TFDS_DATA_DIR, else in ~/tensorflow_datasets. Nothing is ever downloaded: if the data set
is not there, the error says which command prepares it.
"""

import dataclasses
import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from train.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives the features of the data set, such as `image` and `label`, under their own names; integers as int32.

    Attributes:
        dataset: a TFDS name: `mnist`, `scan/length`, `mnist:3.0.1`.
        data_dir: the folder that holds prepared data sets.
    """

    dataset: str
    data_dir: str | None = None

    @property
    def num_classes(self) -> int | None:
        """How many classes `label` has, if the data set has labels."""
        features = self._builder.info.features
        return getattr(features["label"], "num_classes", None) if "label" in features else None

    def splits(self) -> tuple[str, ...]:
        return tuple(self._builder.info.splits)

    def split(self, name: str) -> "Records":
        records = Records(self._builder.as_data_source(split=name), f"{self.dataset}, split {name!r}", self.num_classes)
        if len(records):
            records[np.asarray([0, len(records) - 1])]  # Files that are missing are missed now, and not after training.
        return records

    @functools.cached_property
    def _builder(self) -> Any:
        """The data set's reader, made without touching the disk beyond reading."""
        import tensorflow_datasets as tfds
        from google.protobuf import json_format

        logging.getLogger("absl").addFilter(lambda record: "OpenCV" not in record.getMessage())
        folder = os.path.expanduser(self.data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))
        try:
            builder = tfds.builder(self.dataset, data_dir=folder)
        except tfds.core.DatasetNotFoundError as error:
            known = [line.strip("\t -") for line in str(error).splitlines() if line.startswith("\t- ")]
            hint = nearest(self.dataset, known).partition("Allowed")[0] or "see tensorflow.org/datasets"
            raise UserError(f"config.data.source.dataset: TFDS has no data set {self.dataset!r}; {hint}") from error
        except json_format.ParseError as error:
            raise UserError(f"data set {self.dataset!r} in {folder} is damaged: {error}") from error
        except (AssertionError, ValueError) as error:
            raise UserError(f"config.data.source.dataset: {str(error).splitlines()[0]}") from error
        if not builder.info.splits or builder.info.file_format.value != "array_record":
            state = "as ArrayRecord " if builder.info.splits else ""
            raise UserError(
                f"data set {self.dataset!r} is not prepared {state}in {folder}. Set TFDS_DATA_DIR or "
                "config.data.source.data_dir to where it is, or prepare it (this needs TensorFlow, once): "
                f"pip install tensorflow && tfds build {self.dataset} --file_format=array_record --data_dir={folder}"
            )
        return builder

    def __getstate__(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "data_dir": self.data_dir,
        }  # The reader is made anew in a worker process.


@dataclasses.dataclass(frozen=True)
class Records:
    """A split as examples.

    Attributes:
        records: of TFDS.
        name: of data set and split, for messages.
        num_classes: that `label` may have; None if there is none.
    """

    records: Any
    name: str
    num_classes: int | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        try:
            examples = self.records.__getitems__(indices.tolist())
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"data set {self.name}: records cannot be read, prepare it anew: {reason}") from error
        found = {name: _stack(name, [example[name] for example in examples]) for name in examples[0]}
        if self.num_classes is not None:
            self._check_labels(found["label"], indices)
        return found

    def _check_labels(self, labels: np.ndarray, indices: np.ndarray) -> None:
        wrong = np.flatnonzero((labels < 0) | (labels >= self.num_classes))
        if wrong.size:
            raise UserError(
                f"data set {self.name}: example {indices[wrong[0]]} has the label {labels[wrong[0]]}, and there are "
                f"{self.num_classes} classes, from 0."
            )


def _stack(name: str, values: Sequence[Any]) -> np.ndarray:
    """One array: whole numbers as int32 (but images), text as objects, for numpy would cut it to one length."""
    if isinstance(values[0], bytes):
        return np.array(values, object)
    try:
        array = np.stack(values)
    except ValueError as error:
        raise UserError(f"data set: {name!r} differs in shape between examples ({error}).") from error
    is_image = array.dtype == np.uint8 and array.ndim > 1
    return array if array.dtype.kind not in "iu" or is_image else array.astype(np.int32)
