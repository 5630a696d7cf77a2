"""`python -m pmv_jax.splat`, which is pmv_jax/commands/splat.py."""

import sys

from pmv_jax.commands.splat import main

if __name__ == "__main__":
    sys.exit(main())
