"""`python -m pmv_jax.render`, which is pmv_jax/commands/render.py."""

import sys

from pmv_jax.commands.render import main

if __name__ == "__main__":
    sys.exit(main())
