"""`python -m pmv_jax.edit`, which is pmv_jax/commands/edit.py."""

import sys

from pmv_jax.commands.edit import main

if __name__ == "__main__":
    sys.exit(main())
