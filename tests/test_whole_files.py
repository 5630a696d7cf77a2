"""What is written appears whole or not at all."""

import pytest

from pmv_jax.whole_files import appearing


class Stop(Exception):
    pass


def test_a_file_takes_the_place_of_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with appearing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old" and partial.suffix == ".txt" and partial.name.startswith(".")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_a_fuller_one(tmp_path):
    path = tmp_path / "frames"
    for names in ("ab", "c"):
        with appearing(path) as partial:
            partial.mkdir()
            for name in names:
                (partial / name).touch()
    assert [x.name for x in path.iterdir()] == ["c"]


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_interrupted_leaves_nothing(tmp_path, folder):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(Stop), appearing(path) as partial:
        if folder:
            partial.mkdir()
        (partial / "b" if folder else partial).write_text("half")
        raise Stop
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_two_write_the_same_file_at_a_time(tmp_path):
    path = tmp_path / "a"
    with appearing(path) as first, appearing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]
