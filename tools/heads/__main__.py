"""Renders random heads.

    python -m tools.heads sheet OUT.png                          # contact sheet: heads by yaws
    python -m tools.heads dataset OUT --heads 1000 --views 6     # shards; the same command goes on where it stopped
    python -m tools.heads smooth OUT.png                         # p, p + 0.02 d, p + 0.1 d, p + 0.5 d, d ~ N(0, I)

The assets are found by --assets DIR or PMV_HEADS_ASSETS (README.md says how to make them).
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from pmv_jax.cameras import FFHQ_FOCAL
from pmv_jax.errors import InputError
from tools.heads import latent
from tools.heads.assets import assets_directory
from tools.heads.curves import to_bytes
from tools.heads.dataset import write_dataset
from tools.heads.head import Studio
from tools.heads.outfit import NOTHING, Outfit, draw_outfit
from tools.heads.rendering import render
from tools.heads.views import camera_row

SMOOTH_STEPS = (0, 0.02, 0.1, 0.5)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns the exit code: 0, or 2 for bad input, which is one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        studio = Studio.load(assets_directory(options.assets))
        {"sheet": sheet, "dataset": dataset, "smooth": smooth}[options.command](studio, options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def outfit_of(options: argparse.Namespace, number: int) -> Outfit:
    """Nothing, unless outfits were asked for."""
    return draw_outfit(options.seed, number) if options.outfits else NOTHING


def sheet(studio: Studio, options: argparse.Namespace) -> None:
    """Heads by yaws."""
    rows = []
    for number in range(options.first, options.first + options.heads):
        scene = studio.head(latent.sample(options.seed, number), outfit_of(options, number))
        views = [render(scene, camera, options.size).rgb for camera in camera_row(focal=options.focal)]
        rows.append(np.concatenate(views, axis=1))
    _save(options.out, rows)


def dataset(studio: Studio, options: argparse.Namespace) -> None:
    """Shards; prints each when it is written."""
    start = time.time()
    shards = write_dataset(
        options.out,
        lambda p, number: studio.head(p, outfit_of(options, number)),
        heads=options.heads,
        views=options.views,
        size=options.size,
        seed=options.seed,
        focal=options.focal,
        first=options.first,
    )
    for path in shards:
        print(f"{path} after {time.time() - start:.0f} s", flush=True)


def smooth(studio: Studio, options: argparse.Namespace) -> None:
    """Steps from p along d; prints how far each picture is from the first inside the head."""
    rows, camera = [], camera_row((0.3,), options.focal)[0]
    for number in range(options.first, options.first + options.heads):
        p = latent.sample(options.seed, number)
        d = np.random.default_rng([options.seed, number, 2]).standard_normal(latent.SIZE)
        views = [render(studio.head(p + step * d), camera, options.size) for step in SMOOTH_STEPS]
        inside = views[0].mask > 0.5
        errors = [float(((view.rgb - views[0].rgb)[inside] ** 2).mean()) for view in views[1:]]
        steps = zip(SMOOTH_STEPS[1:], errors, strict=True)
        print(number, ", ".join(f"+{step} d: {-10 * np.log10(error):.1f} dB" for step, error in steps), flush=True)
        rows.append(np.concatenate([view.rgb for view in views], axis=1))
    _save(options.out, rows)


def _save(out: Path, rows: list[np.ndarray]) -> None:
    Image.fromarray(to_bytes(np.concatenate(rows, axis=0))).save(out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tools.heads", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=("sheet", "dataset", "smooth"))
    parser.add_argument("out", type=Path, help="picture, or directory of the data set")
    parser.add_argument("--assets", help="directory of the assets; default: PMV_HEADS_ASSETS")
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--views", type=int, default=6, help="of each head of a data set")
    parser.add_argument("--size", type=int, default=256, help="of pictures, in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first head, or of the first shard of a data set"
    )
    parser.add_argument("--outfits", action="store_true", help="glasses, hats, scarves, decals, ... (default: nothing)")
    parser.add_argument("--focal", type=float, default=FFHQ_FOCAL, help="in picture sizes; 3.2 shows the whole head")
    return parser


if __name__ == "__main__":
    sys.exit(main())
