"""Pictures: cropped, resized and compressed."""

from pathlib import Path

import numpy as np
from PIL import Image

from tools.heads import catalogue
from tools.heads.building.formats import resolve_pointer
from tools.heads.skin import CROP_LEFT, CROP_TOP, SHEET

CROP_HEIGHT = 1129  # pixels: from the crown to the shoulders
BODY, CLOTH, IRIS, STRIP, TEETH = 512, 768, 384, 256, 512  # sizes, in pixels
QUALITY = 92


def write_textures(makehuman: Path, assets: Path, others: list[Path], out: Path) -> None:
    """All textures of the catalogue.

    Args:
      makehuman, assets: checkouts of makehumancommunity/makehuman and makehumancommunity/makehuman-assets.
      others: where files are whose pointers alone the checkouts have, by SHA-256.
    """

    def opened(path: Path) -> Image.Image:
        return Image.open(resolve_pointer(path, others))

    for sheet in catalogue.SKINS:
        _write_skin(opened(assets / "base" / "skins" / "textures" / f"{_skin_file(sheet.name)}.png"), sheet.name, out)
    for name in catalogue.IRISES:
        if name == "brown":
            picture = opened(makehuman / "makehuman" / "data" / "eyes" / "materials" / "brown_eye.png")
        else:
            picture = opened(assets / "base" / "eyes" / "materials" / f"{name}_eye.png")
        picture.convert("RGBA").resize((IRIS, IRIS), Image.Resampling.LANCZOS).save(out / f"eye_{name}.png")
    for kind, names in (("eyebrows", catalogue.BROWS), ("eyelashes", (catalogue.LASHES,))):
        for name in names:
            alpha = opened(assets / "base" / kind / name / f"{name}.png").convert("RGBA").getchannel("A")
            alpha.resize((STRIP, STRIP), Image.Resampling.LANCZOS).save(out / f"{name}.png")
    for garment in catalogue.GARMENTS:
        folder = assets / "base" / "clothes" / garment.name
        cloth = opened(folder / f"{garment.name}_diffuse.png").convert("RGB")
        cloth.resize((CLOTH, CLOTH), Image.Resampling.LANCZOS).save(out / f"cloth_{garment.name}.jpg", quality=QUALITY)
    teeth = opened(assets / "base" / "teeth" / "materials" / "teeth.png").convert("RGB")
    teeth.resize((TEETH, TEETH), Image.Resampling.LANCZOS).save(out / "teeth.jpg", quality=QUALITY)


def _skin_file(name: str) -> str:
    """Sheet `young_lightskinned_male_2` is in the file `young_lightskinned_male_diffuse2`."""
    stem, _, number = name.rpartition("_")
    return f"{stem}_diffuse{number}" if number.isdigit() else f"{name}_diffuse"


def _write_skin(picture: Image.Image, name: str, out: Path) -> None:
    sheet = picture.convert("RGB").resize((SHEET, SHEET), Image.Resampling.LANCZOS)
    left, top = int(np.floor(CROP_LEFT * SHEET)), int(np.floor(CROP_TOP * SHEET))
    sheet.crop((left, top, SHEET, top + CROP_HEIGHT)).save(out / f"skin_{name}_head.jpg", quality=QUALITY)
    sheet.resize((BODY, BODY), Image.Resampling.LANCZOS).save(out / f"skin_{name}_body.jpg", quality=QUALITY)
