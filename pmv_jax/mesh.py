"""`python -m pmv_jax.mesh`, which is pmv_jax/commands/mesh.py."""

import sys

from pmv_jax.commands.mesh import main

if __name__ == "__main__":
    sys.exit(main())
