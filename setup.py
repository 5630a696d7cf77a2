"""What pyproject.toml cannot say: the demo generator and the recipes lie beside the package, and travel inside it."""

from pathlib import Path

from setuptools import find_packages, setup

DEMO = Path("weights", "demo")
EXTRA = {"pmv_jax.demo_weights": str(DEMO), "pmv_jax.configs": "configs"}
LEFT_OUT = {"heads.png", "tattoo_head.png", "tattoo_head_views.png", "tattoo_head_camera.json"}  # of the documents
FILES = [str(path.relative_to(DEMO)) for path in DEMO.rglob("*") if path.is_file() and path.name not in LEFT_OUT]

setup(
    packages=[*find_packages(include=["pmv_jax", "pmv_jax.*"]), *EXTRA],
    package_dir=EXTRA,
    package_data={
        "pmv_jax": ["py.typed"],
        "pmv_jax.configs": ["*.py"],
        "pmv_jax.demo_weights": FILES,
        "pmv_jax.results": ["templates/*.html"],
    },
)
