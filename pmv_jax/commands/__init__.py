"""The commands. Each module here has `main`, and a docstring that `--help` shows; its first line is in the list."""

COMMANDS = ("invert", "render", "mesh", "edit", "view", "evaluate", "align")
