"""Traces that outlive the process: a function that was traced once is not traced again, and gives what it gave."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, export

from pmv_jax import traces
from pmv_jax.config import PERCEPTUAL_TERMS
from pmv_jax.inversion import adam_loop, view_fitting
from tests import small_inversion


@flax.struct.dataclass
class Scaled:
    """A pytree with a static part."""

    factor: float = flax.struct.field(pytree_node=False)
    values: Array


class Counted:
    """A function whose traces are counted; `process()` is it as a new process has it."""

    def __init__(self) -> None:
        self.traces = 0

    def process(self) -> traces.Kept:
        def function(x: Scaled, y: Array, shift: float = 0.0, *, power: int = 1) -> dict[str, Scaled | Array]:
            self.traces += 1
            return {"x": x.replace(values=x.factor * x.values**power + shift), "y": jnp.sum(y)}

        return traces.kept(function, static_argnames=("power",), donate_argnames=("x",))


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv(traces.DIRECTORY, str(tmp_path / "traces"))
    return tmp_path / "traces"


def arguments(factor: float = 2.0, size: int = 3) -> tuple[Scaled, np.ndarray]:
    return Scaled(factor, jnp.arange(1.0, 1 + size)), np.ones(4, np.float32)


def kept_files(directory) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_another_process_does_not_trace_again(directory):
    counted = Counted()
    first, second = (counted.process()(*arguments(), power=2) for _ in range(2))
    assert counted.traces == 1 and len(kept_files(directory)) == 1
    assert isinstance(second["x"], Scaled) and second["x"].factor == 2.0
    for result in (first, second):
        np.testing.assert_array_equal(result["x"].values, [2.0, 8.0, 18.0])
        assert result["y"] == 4


@pytest.mark.parametrize(
    "other",
    [
        lambda f: f(*arguments(factor=3.0), power=2),
        lambda f: f(*arguments(size=5), power=2),
        lambda f: f(*arguments(), power=3),
        lambda f: f(arguments()[0], np.ones(4, np.int32), power=2),
        lambda f: f(*arguments(), jnp.zeros(3), power=2),
    ],
    ids=["static part", "shape", "static argument", "type", "another argument"],
)
def test_what_differs_is_traced_by_itself(directory, other):
    counted = Counted()
    counted.process()(*arguments(), power=2)
    other(counted.process())
    assert counted.traces == 2 and len(kept_files(directory)) == 2


def test_a_setting_of_jax_that_changes_programs_is_not_forgotten(directory):
    counted = Counted()
    counted.process()(*arguments())
    with jax.default_matmul_precision("highest"):
        counted.process()(*arguments())
    assert counted.traces == 2


def test_donated_memory_is_taken(directory):
    function = Counted().process()
    for _ in range(2):
        x, y = arguments()
        function(x, jnp.asarray(y))
        assert x.values.is_deleted()


def test_shapes_are_known_without_a_call(directory):
    counted = Counted()
    shapes = [counted.process().shapes(*arguments()) for _ in range(2)]
    assert counted.traces == 1
    assert shapes[0] == shapes[1] == {
        "x": Scaled(2.0, jax.ShapeDtypeStruct((3,), jnp.float32)),
        "y": jax.ShapeDtypeStruct((), jnp.float32),
    }  # fmt: skip


@pytest.mark.parametrize("unset", [True, False])
def test_without_a_directory_nothing_is_kept(directory, monkeypatch, unset):
    monkeypatch.delenv(traces.DIRECTORY) if unset else monkeypatch.setenv(traces.DIRECTORY, "")
    counted = Counted()
    shapes = counted.process().shapes(*arguments())
    result = counted.process()(*arguments())
    assert counted.traces == 2 and not directory.exists()
    assert jax.tree.map(jnp.shape, result) == jax.tree.map(jnp.shape, shapes)


def test_within_other_traces_it_is_a_part_of_them(directory):
    function = Counted().process()
    x, y = arguments()
    gradient = jax.grad(lambda values: function(Scaled(2.0, values), y, power=2)["x"].values.sum())(x.values)
    np.testing.assert_array_equal(gradient, [4.0, 8.0, 12.0])
    assert not directory.exists()


def test_a_shape_that_is_asked_for_computes_nothing(directory):
    function, given = Counted().process(), arguments()
    shapes = jax.eval_shape(lambda: function(*given))
    assert shapes["y"].shape == () and not directory.exists() and not given[0].values.is_deleted()


def test_a_full_disk_leaves_nothing_behind(directory, monkeypatch):
    def full(path, content):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    assert Counted().process()(*arguments())["y"] == 4
    assert not kept_files(directory)


def test_with_a_loss_of_somebody_else_nothing_is_kept(directory, monkeypatch):
    monkeypatch.setitem(PERCEPTUAL_TERMS, "theirs", "their_losses:TERM")
    Counted().process()(*arguments())
    assert not directory.exists()


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", lambda content: content + b"x"])
def test_a_damaged_file_is_written_anew(directory, damage):
    counted = Counted()
    counted.process()(*arguments())
    (path,) = directory.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    counted.process()(*arguments())
    assert counted.traces == 2
    assert traces._read(path) is not None
    counted.process()(*arguments())
    assert counted.traces == 2


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(traces.DIRECTORY, str(tmp_path / "file"))
    assert Counted().process()(*arguments())["y"] == 4


def test_methods_are_bound(directory):
    @dataclasses.dataclass(frozen=True)
    class Owner:
        factor: int

        @traces.kept
        def times(self, x: Array) -> Array:
            return self.factor * x

    jax.tree_util.register_dataclass(Owner, [], ["factor"])
    assert [float(Owner(n).times(jnp.float32(2.0))) for n in (3, 4, 3)] == [6.0, 8.0, 6.0]
    assert len(kept_files(directory)) == 2


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_the_step_that_fits_views_can_be_kept_for_every_device(platform):
    inversion, views = small_inversion.make(), small_inversion.four_views()
    state = view_fitting.start(inversion.ws, inversion.generator.params)
    plan = view_fitting.plan(2, code_rate=0.1, weights_rate=0.1)
    fixed = inversion.generator, views, plan, jnp.ones(()), None, jax.random.key(0), jnp.int32(adam_loop.CHUNK)
    leaves, structure = jax.tree.flatten((state, *fixed))
    loss = small_inversion.RECIPE.loss

    def flat(leaves: list[Array]) -> list[Array]:
        run = view_fitting.run.jitted
        return jax.tree.leaves(run(*jax.tree.unflatten(structure, leaves), loss_config=loss))

    assert export.export(jax.jit(flat), platforms=[platform])(leaves).serialize()
