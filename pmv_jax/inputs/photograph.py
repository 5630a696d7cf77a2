"""From an entry of a command line or manifest to what an inversion takes: a crop, and what is known of its camera.

JAX and what needs it are imported inside functions: what is wrong with a file is found before anything heavy is loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
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


@dataclasses.dataclass(frozen=True)
class Photograph:
    """An entry whose files have been read.

    Attributes:
      picture: mode RGB, or F in [0, 255].
      camera: [25]; None where it has to be found.
      config: the recipe with the entry's own settings.
    """

    entry: Entry
    picture: Image.Image
    camera: np.ndarray | None
    config: InversionConfig


@dataclasses.dataclass(frozen=True)
class Target:
    """What is to be inverted.

    Attributes:
      image: [H, W, 3] in [-1, 1].
      weights: [H, W] in [0, 1], 0 where the crop reaches beyond the photograph and is made up.
      guess: [25], near which the camera is; None where nothing is known of it.
      portrait: the face that was found; None where the picture was taken as it is.
    """

    photograph: Photograph
    image: np.ndarray
    weights: np.ndarray
    guess: np.ndarray | None
    portrait: Portrait | None

    @property
    def camera(self) -> np.ndarray | None:
        """[25], as it was given; None where it was not."""
        return self.photograph.camera

    def request(self, generator: str) -> dict[str, Any]:
        """Plain data that differs wherever the result would."""
        return {
            "image": hashlib.sha256(self.image.tobytes()).hexdigest(),
            "camera": None if self.camera is None else self.camera.tolist(),
            "landmarks": None if self.portrait is None else self.portrait.landmarks.tolist(),
            "generator": generator,
            "config": to_dict(self.photograph.config),
        }

    def write_alignment(self, directory: Path, generator: Any, camera: np.ndarray) -> None:
        """Writes pictures and figures of how the face was found, and of the camera [25] that the inversion ended with,
        to a directory; the generator shows its average head. Nothing where no face was found."""
        if self.portrait is None:
            return
        from pmv_jax.faces.drawing import write_alignment
        from pmv_jax.inversion.camera import average_head

        head = np.asarray(average_head(generator, camera))
        write_alignment(directory, self.photograph.picture, self.portrait, self.image, head, camera)


def read(entry: Entry, config: InversionConfig) -> Photograph:
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
    return Photograph(entry, picture, _camera(entry), config)


def align(photograph: Photograph, family: GeneratorConfig, force: bool = False) -> Target:
    """Crops a photograph as the generator wants it.

    Args:
      photograph: of `read`.
      family: the generator's config, for its cameras and the size of its pictures.
      force: go on with a doubtful face or camera.

    Raises:
      InputError: no face, or a doubtful one; a camera that fits no picture of the generator.
    """
    entry, picture, resolution = photograph.entry, photograph.picture, family.image_resolution
    if photograph.camera is not None:
        _check_camera(photograph, family, force)
    portrait = None
    if photograph.camera is None and entry.align:
        portrait = _find_face(entry, picture, family, photograph.config, force)
    if portrait is None:
        everywhere = np.ones((resolution, resolution), np.float32)
        return Target(photograph, to_square(picture, resolution), everywhere, None, None)
    weights = portrait.coverage(picture, resolution)
    return Target(photograph, portrait.crop(picture, resolution), weights, portrait.pose.camera, portrait)


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


def _check_camera(photograph: Photograph, family: GeneratorConfig, force: bool) -> None:
    """Refuses a camera that cannot be that of the picture; with `force` it is a warning."""
    camera = photograph.camera.astype(np.float64)
    problem = conventions.misfit(camera, family)
    if problem is None:
        return
    message = f"camera of {photograph.entry.image}: {problem}{conventions.hint(camera, family)}"
    if not force:
        raise InputError(f"{message}; without --camera it is estimated, --force takes it all the same")
    warnings.warn(message, stacklevel=2)


def _find_face(
    entry: Entry, picture: Image.Image, family: GeneratorConfig, config: InversionConfig, force: bool
) -> Portrait | None:
    """The face to invert; None where the central square has to do, which a warning then says."""
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
        warnings.warn(
            "face detection is not installed (pip install 'pmv_jax[face]'); "
            "taking the central square and searching for the camera",
            stacklevel=2,
        )
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
