"""Nothing is too long to read at once; what is public says what it takes and gives; no program asks where it runs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pmv_jax"
LARGEST_FILE, LARGEST_FUNCTION = 400, 60  # lines
EXCEPTIONS = {
    "pmv_jax/checkpoints/inert_pickle.py:_execute",  # a flat table: a row for each opcode
}


def too_long() -> dict[str, int]:
    """Files, and functions as FILE:NAME, above the limits, with their lines."""
    found = {}
    paths = (path for folder in ("pmv_jax", "tools", "configs", "tests") for path in (ROOT / folder).rglob("*.py"))
    for path in paths:
        text, name = path.read_text(), path.relative_to(ROOT).as_posix()
        if (lines := len(text.splitlines())) > LARGEST_FILE:
            found[name] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (lines := node.end_lineno - node.lineno + 1) > LARGEST_FUNCTION:
                found[f"{name}:{node.name}"] = lines
    return found


def test_only_commands_print():
    printing = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pmv_jax").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    others = {name for name in printing if not name.startswith(("pmv_jax/command", "pmv_jax/__main__"))}
    assert not others, "logging is for these"


def test_nothing_is_too_long():
    found = too_long()
    assert not {name: lines for name, lines in found.items() if name not in EXCEPTIONS}
    assert not EXCEPTIONS - found.keys(), "exceptions that are none any more"


# ---------------------------------------------------------------------------------------------------------------------
# Docstrings
# ---------------------------------------------------------------------------------------------------------------------

ELSEWHERE = re.compile(r"[Aa]rguments|[Ss]ee `|[Ss]ee there")
SHAPE = re.compile(r"\[[\w\s,.*()+/-]*\]|scalar|pytree|PRNG key")
ARRAY = re.compile(r"Array|ndarray")
EXPLAINED_BY_OTHERS = {"main", "setup", "__call__"}  # the module's help; Flax; the class


def public(node: ast.Module | ast.ClassDef, about: str = "") -> Iterator[tuple[ast.FunctionDef, str]]:
    """Functions of a module and methods of its classes that are for others, with all that describes them."""
    for child in node.body:
        hidden = child.name.startswith("_") if isinstance(child, ast.ClassDef | ast.FunctionDef) else True
        if isinstance(child, ast.ClassDef) and not hidden:
            yield from public(child, ast.get_docstring(child) or "")
        elif isinstance(child, ast.FunctionDef) and child.name not in EXPLAINED_BY_OTHERS:
            own = ast.get_docstring(child)
            if not hidden:
                yield child, f"{own} {about}" if own else ""
            elif child.name == "__init__":
                yield child, f"{own or ''} {about}"


def problems(function: ast.FunctionDef, text: str) -> Iterator[str]:
    """What a description leaves out: names of arguments, where there are more than two; shapes of arrays."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    arguments = [argument for argument in arguments if argument.arg not in ("self", "cls")]
    types = {argument.arg: ast.unparse(argument.annotation or ast.Constant("")) for argument in arguments}
    if not text.strip():
        yield "has no docstring"
    if not text.strip() or ELSEWHERE.search(text):
        return
    if len(types) > 2:  # of one or two, a sentence says more than a list; `config: InversionConfig` says it itself
        named = re.compile("|".join(rf"\b{name}s?\b" for name in types), re.IGNORECASE)
        told = {match.lower().removesuffix("s") for match in named.findall(text)}
        for name, kind in types.items():
            if name.lower().removesuffix("s") not in told and name not in kind.lower():
                yield f"says nothing of {name}"
    arrays = [kind for name, kind in types.items() if name != "key"] + [
        ast.unparse(function.returns or ast.Constant(""))
    ]
    if any(ARRAY.search(kind) for kind in arrays) and not SHAPE.search(text):
        yield "gives no shape of its arrays"


def test_what_is_public_says_what_it_takes_and_gives():
    found = [
        f"{path.relative_to(ROOT)}:{function.lineno}: {function.name} {problem}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for function, text in public(ast.parse(path.read_text()))
        for problem in problems(function, text)
    ]
    assert not found, "\n".join(found)


def test_public_functions_are_looked_at():
    module = ast.parse(
        """
def good(image: Array, size: int, key: Array) -> Array: "An image [H, W, 3] at a size, with noise of a key."
def bare(image): pass
def vague(image: Array) -> Array: "The same image."
def silent(a: int, b: int, c: int): "Adds a and b."
class _Hidden:
    def method(self): pass
class Shown:
    def method(self): pass
"""
    )
    found = {function.name: list(problems(function, text)) for function, text in public(module)}
    assert found == {
        "good": [],
        "bare": ["has no docstring"],
        "vague": ["gives no shape of its arrays"],
        "silent": ["says nothing of c"],
        "method": ["has no docstring"],
    }


# ---------------------------------------------------------------------------------------------------------------------
# Devices
# ---------------------------------------------------------------------------------------------------------------------


def test_no_program_asks_for_the_default_backend():
    """Programs are also compiled for devices that are not here: `lax.platform_dependent` is what chooses."""
    asks = re.compile(r"default_backend|devices\(\)\[0\]\.platform|get_backend")
    assert not [path for path in PACKAGE.rglob("*.py") if asks.search(path.read_text())]
