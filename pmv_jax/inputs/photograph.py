"""From an entry of a command line or manifest to what an inversion takes: a crop, and what is known of its camera.

JAX and what needs it are imported inside functions: what is wrong with a file is found before anything heavy is loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath
from PIL import Image

from pmv_jax.cameras import conventions
from pmv_jax.cameras.files import checked, load_camera
from pmv_jax.config import GeneratorConfig, InversionConfig, override, to_dict
from pmv_jax.errors import InputError
from pmv_jax.images import open_image, to_square
from pmv_jax.inputs.manifest import WEB, Entry

if TYPE_CHECKING:
    from pmv_jax.faces.portrait import Portrait
    from pmv_jax.inversion.stage import Photograph
    from pmv_jax.models.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class Source:
    """An entry whose files have been read.

    Attributes:
      picture: mode RGB, or F in [0, 255].
      camera: [25]; None where it has to be found.
      config: the recipe with the entry's own settings.
      mask: a picture of the same size, or the crop's, in which the head is white; None where nobody drew one.
    """

    entry: Entry
    picture: Image.Image
    camera: np.ndarray | None
    config: InversionConfig
    mask: Image.Image | None = None


@dataclasses.dataclass(frozen=True)
class Target:
    """What is to be inverted.

    Attributes:
      image: [H, W, 3] in [-1, 1].
      weights: [H, W] in [0, 1], 0 where the crop reaches beyond the photograph and is made up.
      guess: [25], near which the camera is; None where nothing is known of it.
      portrait: the face that was found; None where the picture was taken as it is.
      matte: [H, W] in [0, 1], the share of each pixel that is head, hair or clothes; None where nobody says.
    """

    source: Source
    image: np.ndarray
    weights: np.ndarray
    guess: np.ndarray | None
    portrait: Portrait | None
    matte: np.ndarray | None = None

    @property
    def camera(self) -> np.ndarray | None:
        """[25], as it was given; None where it was not."""
        return self.source.camera

    @property
    def photograph(self) -> Photograph:
        """As an inversion takes it."""
        from pmv_jax.inversion.stage import Photograph

        return Photograph(self.image, self.camera, self.guess, self.weights, self.matte)

    def request(self, generator: str) -> dict[str, Any]:
        """Plain data that differs wherever the result would."""
        return {
            "image": hashlib.sha256(self.image.tobytes()).hexdigest(),
            "camera": None if self.camera is None else self.camera.tolist(),
            "landmarks": None if self.portrait is None else self.portrait.landmarks.tolist(),
            "generator": generator,
            "config": to_dict(self.source.config),
            **({} if self.matte is None else {"matte": hashlib.sha256(self.matte.tobytes()).hexdigest()}),
        }

    def write_alignment(self, directory: Path, generator: Any, camera: np.ndarray) -> None:
        """Writes pictures and figures of how the face was found, and of the camera [25] that the inversion ended with,
        to a directory; the generator shows its average head. Nothing where no face was found."""
        if self.portrait is None:
            return
        from pmv_jax.faces.drawing import write_alignment
        from pmv_jax.inversion.latent import average_head

        head = np.asarray(average_head(generator, camera[None])["image"][0])
        write_alignment(directory, self.source.picture, self.portrait, self.image, head, camera)


def read(entry: Entry, config: InversionConfig) -> Source:
    """Reads the files of an entry.

    Raises:
      InputError: a file is missing or damaged, settings are wrong, or options exclude each other.
    """
    config = override(config, entry.settings)
    given = {
        "--camera": entry.camera is not None,
        "--landmarks": entry.landmarks is not None,
        "--face": entry.face is not None,
        "--noalign": not entry.align and entry.camera is None,
    }
    names = [name for name, is_given in given.items() if is_given]
    with _local(entry.image) as path:
        picture = open_image(path)
    if len(names) > 1:
        raise InputError(f"{' and '.join(names)} exclude each other; each says in its own way where the face is")
    return Source(entry, picture, _camera(entry), config, None if entry.mask is None else _mask(entry.mask))


def align(source: Source, family: GeneratorConfig, force: bool = False, encoder: Encoder | None = None) -> Target:
    """Crops a photograph as the generator wants it.

    Args:
      source: of `read`.
      family: the generator's config, for its cameras and the size of its pictures.
      force: go on with a doubtful face or camera.
      encoder: the generator's: it finds the crop where face detection is not installed, and the matte where nobody
        drew a mask.

    Raises:
      InputError: no face, or a doubtful one; a camera that fits no picture of the generator.
    """
    entry, picture, resolution = source.entry, source.picture, family.image_resolution
    if source.camera is not None:
        _check_camera(source, family, force)
    from pmv_jax.faces import alignment
    from pmv_jax.inputs import framing

    portrait, frame = None, None
    if source.camera is None and entry.align:
        portrait = _find_face(entry, picture, family, source.config, force)
        frame = _frame(source, encoder) if portrait is None else portrait.resampled
    cut = functools.partial(alignment.cut, frame=frame, resolution=resolution)
    image, matte = cut(picture), _matte(source, cut, resolution)
    if matte is None and encoder is not None:
        matte = framing.matte_of(image, encoder)
    guess = None if portrait is None else portrait.pose.camera
    return Target(source, image, alignment.coverage(picture, frame, resolution), guess, portrait, matte)


def _frame(source: Source, encoder: Encoder | None) -> np.ndarray | None:
    """The crop without face detection: where the encoder sees a head. None, the central square, is warned of."""
    from pmv_jax.faces import alignment
    from pmv_jax.inputs import framing

    frame = None if encoder is None else framing.frame_of(source.picture, encoder)
    if frame is None:
        warnings.warn(
            f"{source.entry.image}: face detection is not installed (pip install 'pmv_jax[face]'); "
            "taking the central square and searching for the camera",
            stacklevel=3,
        )
    elif alignment.is_aligned(source.picture, frame):
        return None
    return frame


def _mask(path: str) -> Image.Image:
    """A mask as it was drawn, mode F in [0, 255]."""
    with _local(path) as file:
        try:
            mask = open_image(file).convert("F")
        except InputError as error:
            raise InputError(f"mask: {error}") from error
    lowest, highest = mask.getextrema()
    if lowest >= 128 or highest < 128:
        colour = "black" if highest < 128 else "white"
        raise InputError(f"mask {path}: is all {colour}; head, hair and clothes must be white, all else black")
    return mask


def _matte(source: Source, cut: Callable[[Image.Image], np.ndarray], resolution: int) -> np.ndarray | None:
    """The mask [resolution, resolution] in [0, 1], cropped with its photograph, or as it is if it is the crop's own."""
    mask, picture = source.mask, source.picture
    if mask is None:
        return None
    if mask.size == picture.size:
        cropped = cut(mask)
    elif mask.size == (resolution, resolution):
        cropped = to_square(mask, resolution)
    else:
        (width, height), (own_width, own_height) = mask.size, picture.size
        raise InputError(
            f"mask {source.entry.mask}: is {width}x{height} pixels; draw it on the photograph, which is "
            f"{own_width}x{own_height}, or on its crop of {resolution}x{resolution}"
        )
    matte = (cropped[..., 0] + 1) / 2
    if matte.max() < 0.5:
        raise InputError(f"mask {source.entry.mask}: is black all over the crop; make the head white that is inverted")
    return matte


def _camera(entry: Entry) -> np.ndarray | None:
    convention = None if entry.camera_convention is None else conventions.parse(entry.camera_convention)
    if entry.camera is None:
        if convention is not None:
            raise InputError(
                f"image {entry.image}: --camera_convention says how to read a camera; give one by --camera"
            )
        return None
    if isinstance(entry.camera, str):
        with _local(entry.camera) as path:
            return load_camera(path, entry.image, convention)
    return checked(entry.camera, f"camera of {entry.image}", convention or ())


def _check_camera(source: Source, family: GeneratorConfig, force: bool) -> None:
    """Refuses a camera that cannot be that of the picture; with `force` it is a warning."""
    camera = source.camera.astype(np.float64)
    problem = conventions.misfit(camera, family)
    if problem is None:
        return
    message = f"camera of {source.entry.image}: {problem}{conventions.hint(camera, family)}"
    if not force:
        raise InputError(f"{message}; without --camera it is estimated, --force takes it all the same")
    warnings.warn(message, stacklevel=2)


def _find_face(
    entry: Entry, picture: Image.Image, family: GeneratorConfig, config: InversionConfig, force: bool
) -> Portrait | None:
    """The face to invert; None where nothing is installed that finds it."""
    from pmv_jax.faces import detection, landmark_files, portrait

    about = {
        "pivot": family.camera_pivot,
        "radius": family.camera_radius,
        "focal": family.camera_focal,
        "yaw_range": config.camera.yaw_range,
        "force": force,
    }
    if entry.landmarks is not None:
        with _local(entry.landmarks) as path:
            landmarks = landmark_files.load_landmarks(path)
        found = portrait.from_landmarks(picture, entry.image, landmarks, **about)
    elif entry.face is None and not detection.is_available():
        return None
    else:
        found = portrait.from_detection(picture, entry.image, entry.face, **about)
    if found.is_ambiguous and entry.face is None:
        warnings.warn(
            f"{entry.image}: {len(found.faces)} faces, two or more nearly as large; taking the largest, see faces.png "
            "in the result for the numbers that --face takes",
            stacklevel=2,
        )
    return found


def _zip_member(path: str) -> tuple[str, str]:
    """`a/set.zip/00/x.png` -> the archive and its member; the latter is empty where there is no archive on the way."""
    head, separator, member = path.partition(".zip/")
    return (head + ".zip", member) if separator and os.path.isfile(head + ".zip") else (path, "")


@contextlib.contextmanager
def _local(path: str) -> Iterator[Path]:
    """A file's local path; a remote one is fetched, and a member of a .zip taken out, for the time being."""
    if path.startswith(WEB):
        raise InputError(f"{path}: is an address on the web; download the file, and give its name")
    archive, member = _zip_member(path)
    if member:
        with tempfile.TemporaryDirectory() as folder:
            try:
                with zipfile.ZipFile(archive) as file:
                    copy = Path(file.extract(member, folder))
            except (KeyError, OSError, zipfile.BadZipFile, zlib.error) as error:
                raise InputError(f"{path}: cannot be taken out ({error}); check the archive") from error
            yield copy
        return
    if "://" not in path:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.rsplit("/", 1)[1]
        try:
            copy.write_bytes(epath.Path(path).read_bytes())
        except Exception as error:  # every store has errors of its own
            raise InputError(f"{path}: cannot be fetched ({error}); check the path and the permissions") from error
        yield copy
