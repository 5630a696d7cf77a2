"""`python -m pmv_jax.invert`, which is pmv_jax/commands/invert.py. Imported, this is the function of the same name."""

import sys

if __name__ == "__main__":
    from pmv_jax.commands.invert import main

    sys.exit(main())

from pmv_jax.inversion.pipeline import invert

# An import gives what then stands here, and makes it the attribute of the package: so `pmv_jax.invert` is the function
# whatever was imported before. `runpy` looks for the specification, which tells it where the command is.
invert.__spec__ = __spec__
sys.modules[__name__] = invert
