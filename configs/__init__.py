"""With what: one file per experiment, each with `get_config(argument)`, importing nothing of the project but this."""
