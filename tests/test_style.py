"""Nothing is too long to be read at once: no function over 60 lines, no file over 400."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
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


def test_nothing_is_too_long():
    found = too_long()
    assert not {name: lines for name, lines in found.items() if name not in EXCEPTIONS}
    assert not EXCEPTIONS - found.keys(), "exceptions that are none any more"
