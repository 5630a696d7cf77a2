"""What pyproject.toml cannot say: the demo generator lies in weights/demo, and travels as a package of the wheel."""

from pathlib import Path

from setuptools import find_packages, setup

DEMO = Path("weights", "demo")
FILES = [str(path.relative_to(DEMO)) for path in DEMO.rglob("*") if path.is_file() and path.suffix != ".png"]

setup(
    packages=[*find_packages(include=["pmv_jax", "pmv_jax.*"]), "pmv_jax.demo_weights"],
    package_dir={"pmv_jax.demo_weights": str(DEMO)},
    package_data={
        "pmv_jax": ["py.typed"],
        "pmv_jax.demo_weights": FILES,
        "pmv_jax.results": ["templates/*.html"],
    },
)
