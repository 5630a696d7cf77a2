"""`python -m pmv_jax.splat` on an inversion small enough for that; what the splats show is tested in tests/splats."""

import numpy as np
import pytest

from pmv_jax.commands.splat import main
from tests import command, small_inversion
from tests.splats.test_splats import read_ply


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("splat")
    (folder / "result").mkdir()
    small_inversion.make().save(folder / "result" / "inversion")
    (folder / "nothing").mkdir()
    (folder / "taken.ply").touch()
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--inversion is missing"),
        ("--inversion result --out head.glb", "unknown format '.glb'; end it in .ply"),
        ("--inversion result --out taken.ply", "taken.ply: exists; give --force"),
        ("--inversion result --resolution 8", "resolution"),
        ("--inversion nothing", "nothing: no inversion here"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, arguments, message):
    before = sorted(folder.rglob("*"))
    done = command.run(main, folder, *arguments.split())
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert message in done.stderr and sorted(folder.rglob("*")) == before


def test_command(folder):
    done = command.run(main, folder, *"--inversion result --out new/head.ply --resolution 16 --backdrop".split())
    assert done.returncode == 0, done.stderr
    table = read_ply(folder / "new" / "head.ply")
    count = len(table["x"])
    assert count > 100 and done.stdout.startswith(f"{count} splats, ")
    assert all(np.isfinite(column).all() for column in table.values())
    assert [path.name for path in (folder / "new").iterdir()] == ["head.ply"]
