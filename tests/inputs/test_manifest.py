"""What --images may name."""

import json
import tracemalloc
import zipfile

import numpy as np
import pytest

from pmv_jax.errors import InputError
from pmv_jax.inputs import manifest

CAMERA = [float(value) for value in np.eye(5).ravel()]


def write(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


def test_pattern_takes_pictures_in_order(tmp_path):
    for name in ("b.png", "a.jpg", "c.txt", "deep/d.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = manifest.read(f"{tmp_path}/*.[jp]*")
    assert images.names == ["a", "b"] and images[0] == manifest.Entry(f"{tmp_path}/a.jpg")
    assert manifest.read(f"{tmp_path}/**/*.webp").names == ["d"]


def test_what_is_no_picture_is_not_dropped_from_a_pattern(tmp_path):
    """It fails when it is read; and it does not claim the name of the picture beside it."""
    for name in ("a.png", "a.txt", "b.pdf", "c.HEIC", "deep/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert manifest.read(f"{tmp_path}/*").names == ["a", "a_txt", "b_pdf", "c"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_at_the_start_of_a_file(tmp_path, encoding):
    forms = {"x.txt": "é.png\n", "x.csv": "image\né.png\n", "x.jsonl": '{"image": "é.png"}'}
    forms["x.json"] = json.dumps({"labels": [["é.png", CAMERA]]}, ensure_ascii=False)
    for name, text in forms.items():
        (tmp_path / name).write_bytes(text.encode(encoding))
        assert manifest.read(str(tmp_path / name))[0].image == f"{tmp_path}/é.png", name


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_columns_behind_any_mark(tmp_path, mark):
    table = f'image{mark}face{mark}tuning.steps\na.png{mark}2{mark}\n"b{mark}.png"{mark}{mark}3\n'
    images = manifest.read(write(tmp_path, "x.csv", table))
    assert images[0] == manifest.Entry(f"{tmp_path}/a.png", face=2)
    assert images[1].image.endswith(f"b{mark}.png".strip()) and images[1].settings == ("tuning.steps=3",)


@pytest.mark.parametrize("labels", [None, [["00/a.png", CAMERA]]])
def test_data_set_of_eg3d_in_an_archive(tmp_path, labels):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("00/b.png", "00/a.png", "readme.txt"):
            archive.writestr(name, b"")
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    images = manifest.read(str(tmp_path / "set.zip"))
    assert images.names == ["a", "b"]
    assert images[1] == manifest.Entry(f"{tmp_path}/set.zip/00/b.png")
    assert images[0].camera == (tuple(CAMERA) if labels else None) and images[0].align == (not labels)


def test_addresses_and_broken_archives_are_refused(tmp_path):
    with pytest.raises(InputError, match="address on the web; download"):
        manifest.read("https://example.org/*.png")
    (tmp_path / "set.zip").write_text("no archive")
    with pytest.raises(InputError, match="set.zip: cannot be read"):
        manifest.read(str(tmp_path / "set.zip"))


def test_forms_of_a_line(tmp_path):
    """The same two entries in three forms; paths are relative to the manifest."""
    text = "# heads\n\na b.png\nsub/c.png\tc.npy\ttuning.steps=3\tface=2\tmask=m.png\n"
    table = 'image,camera,face,mask,tuning.steps\na b.png,,,,\n"sub/c.png",c.npy,2,m.png,3\n'
    second = {"image": "sub/c.png", "camera": "c.npy", "face": 2, "mask": "m.png", "tuning.steps": 3}
    lines = [{"image": "a b.png"}, second]
    forms = {"x.txt": text, "x.csv": table, "x.jsonl": "\n".join(map(json.dumps, lines))}
    for name, content in forms.items():
        images = manifest.read(write(tmp_path, name, content))
        assert images.names == ["a b", "c"], name
        assert images[0] == manifest.Entry(f"{tmp_path}/a b.png")
        known = {"face": 2, "mask": f"{tmp_path}/m.png", "settings": ("tuning.steps=3",)}
        expected = manifest.Entry(f"{tmp_path}/sub/c.png", f"{tmp_path}/c.npy", **known)
        assert images[1] == expected, name


def test_options_of_a_line(tmp_path):
    lines = [
        {"image": "/abs/a.png", "camera": CAMERA, "seed": 7},
        {"image": "gs://bucket/b.png", "landmarks": "b.txt", "align": False},
    ]
    images = manifest.read(write(tmp_path, "x.jsonl", "\n".join(map(json.dumps, lines))))
    assert images[0] == manifest.Entry("/abs/a.png", tuple(CAMERA), settings=("seed=7",))
    assert images[1] == manifest.Entry("gs://bucket/b.png", landmarks=f"{tmp_path}/b.txt", align=False)


def test_dataset_of_eg3d(tmp_path):
    path = write(tmp_path, "dataset.json", json.dumps({"labels": [["00/a.png", CAMERA], ["00/b.png", CAMERA]]}))
    images = manifest.read(path)
    assert images.names == ["a", "b"]
    assert images[1] == manifest.Entry(f"{tmp_path}/00/b.png", tuple(CAMERA), align=False)


def test_names_do_not_collide_and_stay(tmp_path):
    few = manifest.read(write(tmp_path, "few.txt", "a/x.png\nb/X.png\ny.png\n../y z.png\n.png\n"))
    assert len(set(few.names)) == 5 and few.names[2] == "y" and few.names[3] == "y z"
    assert all(name.lower().startswith("x-") for name in few.names[:2])
    more = manifest.read(write(tmp_path, "more.txt", "c/x.png\nb/X.png\nnew.png\na/x.png\n"))
    assert [more.names[3], more.names[1]] == few.names[:2]
    same_twice = manifest.read(write(tmp_path, "twice.txt", "a/x.png\na/x.png\n"))
    assert same_twice.names == ["x"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("x.jsonl", '{"image": ', "Expecting value"),
        ("x.jsonl", '{"picture": "a.png"}', "has no image"),
        ("x.jsonl", "[1, 2, 3]", "unpack"),
        ("x.jsonl", '{"image": "a.png", "camera": [1, "x"]}', "could not convert"),
        ("x.csv", "image,face\na.png,two", "invalid literal"),
        ("x.csv", "image\na.png,b", "2 values for 1 columns"),
    ],
)
def test_a_bad_line_concerns_nobody_else(tmp_path, name, text, problem):
    good = "image" if name.endswith(".csv") else '{"image": "good.png"}'
    lines = [*text.splitlines(), "good.png"] if name.endswith(".csv") else [text, good]
    images = manifest.read(write(tmp_path, name, "\n".join(lines)))
    with pytest.raises(InputError, match=problem):
        images[0]
    assert images[1].image.endswith("good.png") and len(set(images.names)) == 2


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("none.txt", None, "no such file"),
        ("empty.txt", "# nothing\n", "names no image"),
        ("x.csv", "picture\na.png\n", "no column 'image' but picture"),
        ("x.json", "{}", "cannot be read"),
        ("*.png", None, "no picture fits"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, name, text, problem):
    if text is not None:
        write(tmp_path, name, text)
    with pytest.raises(InputError, match=problem):
        manifest.read(str(tmp_path / name))


def test_lines_of_a_person_are_one_entry(tmp_path):
    """In all forms; wherever they stand, with the settings of all, and called as the person."""
    forms = {
        "x.txt": "a.png\tperson=Anna B.\nc.png\nb.png\tb.npy\tperson=Anna B.\tseed=3\n",
        "x.csv": "image,person,camera,seed\na.png,Anna B.,,\nc.png,,,\nb.png,Anna B.,b.npy,3\n",
        "x.jsonl": '{"image": "a.png", "person": "Anna B."}\n{"image": "c.png"}\n'
        '{"image": "b.png", "person": "Anna B.", "camera": "b.npy", "seed": 3}\n',
    }
    second = manifest.Entry(f"{tmp_path}/b.png", f"{tmp_path}/b.npy", settings=("seed=3",))
    anna = manifest.Entry(f"{tmp_path}/a.png", settings=("seed=3",), others=(second,))
    for name, text in forms.items():
        images = manifest.read(write(tmp_path, name, text))
        assert images.names == ["Anna B", "c"] and list(images) == [anna, manifest.Entry(f"{tmp_path}/c.png")]


def test_a_persons_name_is_as_unique_as_an_images(tmp_path):
    lines = [{"image": f"{i}.png", "person": "a"} for i in range(2)] + [{"image": "a.png"}, {"image": "7.png"}]
    numbered = [*lines, {"image": "x.png", "person": 7}]
    images = manifest.read(write(tmp_path, "x.jsonl", "\n".join(map(json.dumps, numbered))))
    assert [name[:2] for name in images.names] == ["a-", "a-", "7-", "7-"] and len({*images.names}) == 4
    assert images[0].image.endswith("0.png") and images[0].others[0].image.endswith("1.png")


def test_settings_of_a_person_that_contradict_each_other_are_refused(tmp_path):
    lines = [{"image": f"{i}.png", "person": "Bo", "seed": i} for i in range(2)]
    path = write(tmp_path, "x.jsonl", "\n".join(map(json.dumps, lines)))
    with pytest.raises(InputError, match="x.jsonl: person 'Bo' has seed=0 and seed=1; .* one recipe"):
        manifest.read(path)


def test_what_is_wrong_with_one_line_of_a_person_is_said_when_it_is_read(tmp_path):
    lines = ['{"image": "a.png", "person": "Bo"}', '{"person": "Bo"}', '{"image": "c.png"}']
    images = manifest.read(write(tmp_path, "x.jsonl", "\n".join(lines)))
    assert images.names == ["Bo", "c"] and images[1].image.endswith("c.png")
    with pytest.raises(InputError, match="entry 'Bo': has no image"):
        images[0]


def test_a_folder_is_answered_with_a_pattern(tmp_path):
    with pytest.raises(InputError, match=r"is a directory; give a pattern: '.*/\*.png'"):
        manifest.read(str(tmp_path))


def test_ten_thousand_lines_are_small(tmp_path):
    lines = [json.dumps({"image": f"folder/{i:06}.png", "camera": CAMERA, "seed": i}) for i in range(10_000)]
    path = write(tmp_path, "x.jsonl", "\n".join(lines))
    tracemalloc.start()
    images = manifest.read(path)
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(images) == 10_000 and images[9_999].settings == ("seed=9999",)
    assert peak < 20e6, f"{size / 1e6:.0f} MB, {peak / 1e6:.0f} MB at most"
