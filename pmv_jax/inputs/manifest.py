"""The images of a batch, and what is asked for each: from a glob, a manifest, or an EG3D dataset.json.

    DIR/*.png       every file that fits, ** for folders below
    list.txt        one image a line; after it, behind tabs, its camera file and settings KEY=VALUE; # begins a comment
    list.csv        columns: image, and any of person, camera, camera_convention, landmarks, face, mask, align and
                    settings such as tuning.steps
    list.jsonl      one object a line, with the same keys; camera may be the 25 numbers themselves
    dataset.json    EG3D's {"labels": [[image, 25 numbers], ...]}
    set.zip         its pictures, with the cameras of the dataset.json inside, if there is one: EG3D's data sets

Paths in a manifest are relative to its folder. Any of them may be remote (gs://...), as `etils.epath` reads them.

Lines that name the same person are one entry: several photographs of which one head is made.

A manifest is held as its lines: an entry is only read when it is asked for, and what is wrong with it concerns nobody
else; but settings of one person that contradict each other are nobody's in particular.
"""

from __future__ import annotations

import csv
import dataclasses
import glob
import hashlib
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from etils import epath

from pmv_jax.errors import InputError
from pmv_jax.images import SUFFIXES

KINDS = (".txt", ".csv", ".jsonl", ".json", ".zip")
WEB = ("http://", "https://", "ftp://")
_UNREADABLE = (InputError, ValueError, TypeError, KeyError, RecursionError, AttributeError)  # what a bad line raises
_NEXT = "\0"  # between the lines of a person


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image and what is asked for it, and what belongs to the same person.

    Attributes:
      image: path.
      camera: path of a camera file, or 25 numbers; None where it has to be found.
      landmarks: path of a file with five of them.
      face: which one, 1 is the largest.
      align: whether to find the face and crop to it.
      camera_convention: in which the camera is written, see `cameras.conventions`; None is the project's own.
      mask: path of a picture in which head, hair and clothes are white and all else is black.
      settings: KEY=VALUE, as `config.override` takes them.
      others: further photographs of the same person, with the same settings and no others themselves.
    """

    image: str
    camera: str | tuple[float, ...] | None = None
    landmarks: str | None = None
    face: int | None = None
    align: bool = True
    camera_convention: str | None = None
    mask: str | None = None
    settings: tuple[str, ...] = ()
    others: tuple[Entry, ...] = ()


class Manifest(Sequence[Entry]):
    """The entries of a batch, read one at a time.

    Attributes:
      names: of their results, each only once: the person's, or else the image's without its suffix, and where several
        share it, with a hash of the whole entry behind it. So a name stays with what is asked for when others join or
        leave.
    """

    def __init__(self, where: str, lines: list[str], fields: list[str] | None = None, kind: str = ".txt") -> None:
        """lines: one for each entry, `kind` says of what form; fields: of a .csv."""
        self._folder = os.path.dirname(where)
        self._where, self._fields, self._kind = where, fields, kind
        lines = list(dict.fromkeys(lines))  # what is asked for twice is done once
        people: dict[str, str] = {}  # what goes together: a line, or all lines of a person
        for line in lines:
            person = self._person(line)
            key = line if person is None else _NEXT + person
            people[key] = people[key] + _NEXT + line if key in people else line
        self._lines = list(people.values())
        stems = [self._stem(lines) for lines in self._lines]
        count = Counter(stem.casefold() for stem in stems)  # some disks do not tell a.png from A.png
        self.names = [
            stem if count[stem.casefold()] == 1 else f"{stem}-{hashlib.sha256(lines.encode()).hexdigest()[:8]}"
            for stem, lines in zip(stems, self._lines, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Entry:
        """One entry.

        Raises:
          InputError: its line cannot be understood.
        """
        try:
            entries = [self._entry(self._values(line)) for line in self._lines[index].split(_NEXT)]
        except _UNREADABLE as error:
            raise InputError(f"{self._where}: entry {self.names[index]!r}: {error}") from error
        settings = tuple(dict.fromkeys(setting for entry in entries for setting in entry.settings))
        first, *others = (dataclasses.replace(entry, settings=settings) for entry in entries)
        return dataclasses.replace(first, others=tuple(others))

    def check_people(self) -> None:
        """Refuses lines of one person that contradict each other.

        Raises:
          InputError: a setting has two values.
        """
        for index, lines in enumerate(self._lines):
            if _NEXT not in lines:
                continue
            try:
                settings = self[index].settings
            except InputError:
                continue  # said when it is read
            known: dict[str, str] = {}
            for setting in settings:
                other = known.setdefault(setting.partition("=")[0], setting)
                if other != setting:
                    person = self._person(lines.split(_NEXT)[0])
                    raise InputError(
                        f"--images {self._where}: person {person!r} has {other} and {setting}; "
                        "photographs of one person are inverted together, with one recipe"
                    )

    def _person(self, line: str) -> str | None:
        """Who is named in a line; None where nobody is, or it cannot be understood."""
        if "person" not in (line if self._fields is None else self._fields):
            return None  # nearly always, and said without reading it
        try:
            person = self._values(line).get("person")
        except _UNREADABLE:
            return None
        return None if person is None else str(person).strip() or None

    def _stem(self, lines: str) -> str:
        line = lines.split(_NEXT)[0]
        stem = self._person(line)
        if stem is None:
            try:
                image = str(self._values(line)["image"])
            except _UNREADABLE:
                image = "unreadable"  # the entry says why, when it is read
            if not image.lower().endswith(SUFFIXES):  # beside a.png, a.txt must not claim its name
                image = image.replace(".", "_")
            stem = PurePosixPath(image).stem
        # What a result's directory may be called; a dot in front would hide it.
        stem = "".join(c if c.isalnum() or c in "-_. " else "_" for c in stem)
        return stem.strip(". ")[:100] or "image"

    def _values(self, line: str) -> dict[str, Any]:
        if self._kind == ".txt":
            image, *others = [field.strip() for field in line.split("\t")]
            values = {"image": image}
            if others and "=" not in others[0]:
                values["camera"] = others.pop(0)
            return values | dict(setting.partition("=")[::2] for setting in others if setting)
        if self._kind == ".csv":
            (row,) = csv.reader([line])
            if len(row) > len(self._fields):
                raise InputError(f"has {len(row)} values for {len(self._fields)} columns")
            return {key: value for key, value in zip(self._fields, row, strict=False) if value.strip()}
        values = json.loads(line)
        if isinstance(values, list):  # of a dataset.json
            image, camera = values
            return {"image": image, "camera": camera, "align": False}
        return values

    def _entry(self, values: dict[str, Any]) -> Entry:
        values = {str(key).strip(): value for key, value in values.items() if value is not None}
        image, camera, landmarks, convention, mask = (
            values.pop(key, None) for key in ("image", "camera", "landmarks", "camera_convention", "mask")
        )
        values.pop("person", None)  # whose lines are together already
        if not isinstance(image, str) or not image.strip():
            raise InputError("has no image")
        if camera is not None and not isinstance(camera, str):
            camera = tuple(float(value) for value in camera)
        face, align = values.pop("face", None), values.pop("align", True)
        if isinstance(align, str):
            align = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[align.lower()]
        return Entry(
            self._path(image),
            self._path(camera) if isinstance(camera, str) else camera,
            None if landmarks is None else self._path(str(landmarks)),
            None if face is None else int(face),
            bool(align),
            convention,
            None if mask is None else self._path(str(mask)),
            tuple(f"{key}={value}" for key, value in values.items()),
        )

    def _path(self, path: str) -> str:
        path = path.strip()
        return path if not self._folder or "://" in path or path.startswith("/") else f"{self._folder}/{path}"


def read(images: str) -> Manifest:
    """What `--images` names.

    Raises:
      InputError: no image fits, or the manifest is missing, empty or not one.
    """
    if images.startswith(WEB):
        raise InputError(f"--images {images}: is an address on the web; download the pictures, and name their folder")
    kind = PurePosixPath(images).suffix.lower()
    if kind not in KINDS or any(character in PurePosixPath(images).name for character in "*?["):
        return Manifest("", _matches(images))
    path = epath.Path(images)
    if not path.is_file():
        raise InputError(f"--images {images}: no such file; give a manifest, a dataset.json, or a pattern: 'DIR/*.png'")
    try:
        manifest = _read(path, images, kind)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, StopIteration, zipfile.BadZipFile) as error:
        raise InputError(f"--images {images}: cannot be read ({error}); see docs/batch.md for the forms") from error
    if not manifest:
        raise InputError(f"--images {images}: names no image")
    manifest.check_people()
    return manifest


def _read(path: epath.Path, where: str, kind: str) -> Manifest:
    if kind == ".zip":
        return _read_zip(where)
    data = path.read_bytes()
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")  # as spreadsheets save
    if kind == ".json":
        labels = json.loads(text)["labels"]
        return Manifest(where, [json.dumps(label) for label in labels], kind=kind)
    if kind == ".csv":  # fields may hold line breaks: the lines are written anew
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        fields = [field.strip() for field in next(rows)]
        if "image" not in fields:
            raise InputError(f"--images {where}: has no column 'image' but {', '.join(fields)}")
        return Manifest(where, [_csv_line(row) for row in rows if any(row)], fields, kind)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return Manifest(where, lines, kind=kind)


def _read_zip(where: str) -> Manifest:
    """Members are named as if the archive were a folder; `photograph.read` takes them out."""
    with zipfile.ZipFile(where) as archive:
        members = [name for name in archive.namelist() if name.lower().endswith(SUFFIXES)]
        labels = {}
        if "dataset.json" in archive.namelist():
            labels = dict(json.loads(archive.read("dataset.json")).get("labels") or [])
    entries = [{"image": f"{os.path.basename(where)}/{name}"} for name in sorted(members)]
    for entry, name in zip(entries, sorted(members), strict=True):
        if name in labels:
            entry |= {"camera": labels[name], "align": False}
    return Manifest(where, [json.dumps(entry) for entry in entries], kind=".jsonl")


def _delimiter(text: str) -> str:
    """Of the columns: spreadsheets of many countries write semicolons, for a comma is in their numbers."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _csv_line(row: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


def _matches(pattern: str) -> list[str]:
    if "://" in pattern:
        folder, name = pattern.rsplit("/", 1)
        found = [os.fspath(path) for path in epath.Path(folder).glob(name)]
    else:
        if os.path.isdir(pattern):
            raise InputError(f"--images {pattern}: is a directory; give a pattern: '{pattern.rstrip('/')}/*.png'")
        found = [path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)]
    if not any(path.lower().endswith(SUFFIXES) for path in found):
        raise InputError(f"--images {pattern}: no picture fits; quote the pattern, and check the folder")
    return sorted(found)  # what is no picture too: its failure says so
