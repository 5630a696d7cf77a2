"""`python -m pmv_jax.evaluate`, which is pmv_jax/commands/evaluate.py."""

import sys

from pmv_jax.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
