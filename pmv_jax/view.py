"""`python -m pmv_jax.view`, which is pmv_jax/commands/view.py."""

import sys

from pmv_jax.commands.view import main

if __name__ == "__main__":
    sys.exit(main())
