"""`python -m pmv_jax.align`, which is pmv_jax/commands/align.py."""

import sys

from pmv_jax.commands.align import main

if __name__ == "__main__":
    sys.exit(main())
