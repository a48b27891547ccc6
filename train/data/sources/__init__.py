"""Where examples come from. Each module has a `Source`: a frozen dataclass with `splits()` and `split(name)`."""
