"""No import cycles in device/, export/ and host/. The source is read, not run, so that imports within functions count too."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, for every module of the three packages."""
    files = [file.relative_to(root) for room in ("device", "export", "host") for file in (root / room).rglob("*.py")]
    return {".".join(file.parent.parts if file.name == "__init__.py" else file.with_suffix("").parts): root / file for file in files}  # fmt: skip


def imports(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    """The modules that a file imports, with the packages in which they lie, since Python runs these first."""
    called = set()
    for node in run_time_nodes(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            called.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            called.update(f"{node.module}.{each.name}" for each in node.names)
    parts = [each.split(".") for each in called]
    return {".".join(each[:depth]) for each in parts for depth in range(1, len(each) + 1)} & known.keys() - {name}


def run_time_nodes(node: ast.AST):
    """All nodes below ``node``, without what stands under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from run_time_nodes(child)


def check_no_cycle(root: Path) -> None:
    known = modules(root)
    graph = {name: imports(name, file, known) for name, file in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError("found an import cycle: " + " -> ".join(error.args[1])) from None


def test_no_module_imports_itself_by_way_of_others() -> None:
    check_no_cycle(ROOT)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("from device.b import two", "from device.a import one"),
        ("import device.b", "def late():\n    from device import a"),
    ],
)
def test_a_cycle_is_found(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "device/a.py").write_text(first)
    (tmp_path / "device/b.py").write_text(second)
    with pytest.raises(AssertionError, match=r"device\.(a -> device\.b -> device\.a|b -> device\.a -> device\.b)"):
        check_no_cycle(tmp_path)


def test_a_package_whose_init_imports_its_own_module_which_imports_the_package_is_a_cycle(tmp_path: Path) -> None:
    (tmp_path / "device/link").mkdir(parents=True)
    (tmp_path / "device/link/__init__.py").write_text("from device.link import tls")
    (tmp_path / "device/link/tls.py").write_text("from device.link import address")
    (tmp_path / "device/link/address.py").write_text("")
    with pytest.raises(AssertionError, match="import cycle"):
        check_no_cycle(tmp_path)
