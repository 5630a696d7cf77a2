"""The commands. Each module here has `main`, and a docstring that `--help` shows; its first line is in the list."""

COMMANDS = ("invert", "render", "mesh", "splat", "edit", "view", "evaluate", "align", "convert")
