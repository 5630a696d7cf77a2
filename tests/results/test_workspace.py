import errno
import os

import pytest

from pmv_jax.errors import InputError, NumericalError
from pmv_jax.results.workspace import check, check_space, is_finished, open_workspace

REQUEST = {"image": "abc", "config": {"seed": 0, "size": (1, 2)}}


def finish(out, text="{}", **how):
    """A run that writes one file and ends well."""
    with open_workspace(out, REQUEST, **{"force": False, "resume": False, **how}) as space:
        (space.result / "metrics.json").write_text(text)


def stop(out, error, *, state=True, request=REQUEST, **how):
    """A run that saves some state, begins its result, and ends with an error."""
    with (
        pytest.raises(type(error)),
        open_workspace(out, request, **{"force": False, "resume": False, **how}) as space,
    ):
        if state:
            (space.state / "latent").write_text("half way")
        (space.result / "input.png").touch()
        raise error


def test_result_appears_at_once_and_alone(tmp_path):
    out = tmp_path / "deep" / "a"
    check(out, force=False, resume=False)
    finish(out)
    assert is_finished(out) and os.listdir(out) == ["metrics.json"] and os.listdir(out.parent) == ["a"]


def full_disk() -> InputError:
    """What saving a checkpoint raises."""
    error = InputError("cannot be written")
    error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("bug"), OSError("disk"), full_disk()])
def test_interrupted_run_can_be_resumed(tmp_path, error):
    out = tmp_path / "a"
    stop(out, error)
    assert not out.exists()
    with pytest.raises(InputError, match="unfinished run"):
        check(out, force=False, resume=False)
    check(out, force=False, resume=True)
    with open_workspace(out, REQUEST, force=False, resume=True) as space:
        assert (space.state / "latent").read_text() == "half way" and not os.listdir(space.result)
    assert os.listdir(tmp_path) == ["a"]


def test_resuming_something_else_is_refused_and_keeps_the_state(tmp_path):
    out = tmp_path / "a"
    stop(out, KeyboardInterrupt())
    with (
        pytest.raises(InputError, match="another config;"),
        open_workspace(out, {**REQUEST, "config": {"seed": 1}}, force=False, resume=True),
    ):
        pass
    finish(out, resume=True)
    assert is_finished(out)


def test_resume_with_nothing_to_resume_starts(tmp_path):
    check(tmp_path / "a", force=False, resume=True)
    finish(tmp_path / "a", resume=True)
    assert is_finished(tmp_path / "a")


@pytest.mark.parametrize("error", [InputError("bad"), NumericalError("loss is NaN")])
def test_unusable_input_leaves_nothing(tmp_path, error):
    stop(tmp_path / "a", error)
    assert not os.listdir(tmp_path)


def test_crash_before_any_state_leaves_nothing(tmp_path):
    stop(tmp_path / "a", OSError("disk"), state=False)
    assert not os.listdir(tmp_path)


def test_force_replaces_only_by_a_finished_result(tmp_path):
    out = tmp_path / "a"
    finish(out, "old")
    stop(out, KeyboardInterrupt(), force=True)
    assert (out / "metrics.json").read_text() == "old"
    check(out, force=True, resume=False)
    finish(out, "new", force=True)
    assert (out / "metrics.json").read_text() == "new" and os.listdir(tmp_path) == ["a"]


def test_existing_directory_is_refused(tmp_path):
    out = tmp_path / "a"
    finish(out)
    with pytest.raises(InputError, match="exists; give --force"):
        check(out, force=False, resume=False)
    check(out, force=False, resume=True)
    with pytest.raises(InputError, match="exclude each other"):
        check(out, force=True, resume=True)


@pytest.mark.parametrize("force", [False, True])
def test_foreign_files_are_never_replaced(tmp_path, force):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for name in ("home", "file"):
        with pytest.raises(InputError, match="exists"):
            check(tmp_path / name, force=force, resume=not force)
    with pytest.raises(InputError, match="no directory"):
        check(tmp_path / "file" / "below", force=force, resume=not force)


def test_two_runs_never_share_a_directory(tmp_path):
    with open_workspace(tmp_path / "a", REQUEST, force=False, resume=False):
        with pytest.raises(FileExistsError):
            finish(tmp_path / "a")
        assert (tmp_path / "a.partial" / "state").is_dir()


def test_space(tmp_path):
    check_space(tmp_path / "a" / "b", 1)
    with pytest.raises(InputError, match="MB left"):
        check_space(tmp_path / "a", 1 << 60)
