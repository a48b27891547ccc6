"""How text is cut into tokens. Each module has a `Tokenizer`: a frozen dataclass that is a `vocabulary.Tokenizer`."""
