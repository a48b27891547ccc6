"""Random changes of training examples. Each module has an `Augmentation`: a frozen dataclass with `draw`, `apply` and
`changes`, the entry of a batch that it changes."""
