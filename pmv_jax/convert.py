"""`python -m pmv_jax.convert`, which is pmv_jax/commands/convert."""

import sys

from pmv_jax.commands.convert import main

if __name__ == "__main__":
    sys.exit(main())
