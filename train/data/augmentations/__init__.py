"""Random changes of training images. Each module has an `Augmentation`: a frozen dataclass with `draw` and `apply`."""
