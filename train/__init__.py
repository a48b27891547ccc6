"""How anything is trained and measured: one loop, its parts, and the commands that use it."""
