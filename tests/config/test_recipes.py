"""The recipes in configs/ load, are what they say, and say only what differs."""

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from pmv_jax import config as config_lib
from pmv_jax.config import InversionConfig, Settings, from_dict, known_recipes, load_recipe, override, to_dict
from pmv_jax.errors import InputError

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_loads(path):
    config = load_recipe(path)
    assert from_dict(InversionConfig, to_dict(config)) == config
    assert hash(config) == hash(load_recipe(path))  # as a static argument of compiled functions has to be
    assert override(config, ["tuning.steps=3"]).tuning.steps == 3
    assert f"--config {path.stem}" in path.read_text()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_says_only_what_differs(path, monkeypatch):
    """No argument that a recipe gives to a group of settings is that setting's default."""
    said = []

    def watched(cls: type[Settings]):
        def make(**values):
            defaults = {field.name: field.default for field in dataclasses.fields(cls)}
            said.extend(f"{cls.group}.{name}={value}" for name, value in values.items() if defaults[name] == value)
            return cls(**values)

        return make

    for name, cls in vars(config_lib).items():
        if isinstance(cls, type) and issubclass(cls, Settings) and cls not in (Settings, InversionConfig):
            monkeypatch.setattr(config_lib, name, watched(cls))
    assert runpy.run_path(str(path))["config"]() == load_recipe(path)
    assert said == []


def test_demo_recipe_is_the_default_and_shows_how_to_change_it():
    path = ROOT / "configs" / "demo.py"
    assert load_recipe(path) == InversionConfig()
    (example,) = (line.strip() for line in path.read_text().splitlines() if "return InversionConfig(tuning" in line)
    changed = eval(example.removeprefix("return "), dict(vars(config_lib)))
    assert changed != InversionConfig() and changed.latent == InversionConfig().latent


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config = 3", "TypeError"),
        ("def config(): return {}", "must return a pmv_jax.config.InversionConfig"),
        ("from pmv_jax.config import *\ndef config(): return InversionConfig(seed=-1)", "setting seed: -1 is not"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, text, message):
    (tmp_path / "recipe.py").write_text(text)
    with pytest.raises(InputError, match=f"--config .*recipe.py: .*{message}"):
        load_recipe(tmp_path / "recipe.py")
    with pytest.raises(InputError, match="other.py: no such file"):
        load_recipe(tmp_path / "other.py")


def test_recipes_go_by_name():
    assert list(known_recipes()) == [path.stem for path in RECIPES]
    assert load_recipe("ffhq512") == load_recipe(ROOT / "configs" / "ffhq512.py")
    with pytest.raises(InputError, match=r"--config ffhq51: no recipe of that name.*demo, ffhq512") as caught:
        load_recipe("ffhq51")
    assert all(path.stem in str(caught.value) for path in RECIPES)


def test_documents_name_recipes_that_exist():
    text = "".join((ROOT / name).read_text() for name in ("README.md", "weights/README.md", "docs/benchmark.md"))
    named = re.findall(r"--config (\w+)(?![\w.])|\| `(\w+)` \|$", text, re.MULTILINE)
    assert len(named) > 6 and {one or other for one, other in named} <= {path.stem for path in RECIPES}
