"""The order of the modules: each imports only from the layers above its own."""

import ast
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jaxlth"

# Each line may import from the lines before it, not from itself. A package counts as one module.
LAYERS = (
    ("trees", "keys", "settings", "distributed"),
    ("process",),
    ("masks",),
    ("scores",),
    ("prune",),
    ("models", "data"),
    ("training",),
    ("landscape", "graphs", "supermasks"),
    ("store",),
    ("plots",),
    ("studies",),
    ("cli",),
    ("__main__",),
)
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}

# Public functions for anybody's parameters, and what they stand on.
FUNCTIONAL = ("trees", "keys", "masks", "scores", "prune")
FUNCTIONAL += ("landscape", "graphs")
NOT_FUNCTIONAL = {"flax", "orbax", "tyro", "tensorflow_datasets", "pandas", "matplotlib", "rich"}
NOT_FUNCTIONAL |= {"etils", "safetensors", "os", "pathlib", "shutil", "tempfile"}  # the disk
OUTSIDE = {"experiments", "tests", "tpu"}


def imports(file: pathlib.Path, package: pathlib.Path) -> Iterator[str]:
    """Yield the dotted name of everything that `file`, of the package at `package`, imports."""
    here = (package.name, *file.relative_to(package).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else ()
            origin = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def module_of(file: pathlib.Path, package: pathlib.Path) -> str:
    """Return the layered module that `file` belongs to; "" is the package itself."""
    top = file.relative_to(package).with_suffix("").parts[0]
    return "" if top == "__init__" else top


def violations(package: pathlib.Path) -> list[str]:
    """Return a sentence for each import, in the package at `package`, that breaks the order."""
    found = []
    for file in sorted(package.rglob("*.py")):
        module, where = module_of(file, package), str(file.relative_to(package))
        if module and module not in RANK:
            found.append(f"{where}: `{module}` has no layer")
            continue
        for name in imports(file, package):
            if problem := _problem(module, name, package):
                found.append(f"{where}: {problem}")
    return found


def _problem(module: str, name: str, package: pathlib.Path) -> str | None:
    top, *rest = name.split(".")
    if top in OUTSIDE:
        return f"imports `{top}`, which is never imported"
    if top != package.name:
        wrong = module in FUNCTIONAL and top in NOT_FUNCTIONAL
        return f"functional, and imports `{top}`" if wrong else None
    other = rest[0] if rest else ""
    if other == module or not other or other == "__version__":
        return None
    if other not in RANK:
        return f"imports `{other}`, which has no layer"
    above = bool(module) and RANK[other] < RANK[module]
    return None if above else f"imports `{other}`, which is not above it"


def test_modules_import_only_from_the_layers_above():
    assert violations(PACKAGE) == []


def test_every_third_party_import_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    lines = [line for group in groups for line in group]
    declared = {_normal(re.split(r"[\s\[<>=!~;]", line)[0]) for line in lines}
    providers = metadata.packages_distributions()
    missing = {
        f"{file.relative_to(PACKAGE)}: {top}"
        for file in PACKAGE.rglob("*.py")
        for top in {name.split(".")[0] for name in imports(file, PACKAGE)}
        if top != PACKAGE.name and top not in sys.stdlib_module_names
        if not declared & {_normal(provider) for provider in providers.get(top, [top])}
    }
    assert missing == set()


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@pytest.fixture
def package(tmp_path):
    """A small package that keeps the order."""
    root = tmp_path / "jaxlth"
    sources = {
        "__init__.py": '__version__ = "1"',
        "trees.py": "import jax",
        "masks.py": "from jaxlth import trees",
        "scores/__init__.py": "from jaxlth.scores import gradients\nfrom .weights import random",
        "scores/weights.py": "from .. import masks\nfrom ..trees import names",
        "scores/gradients.py": "from . import weights",
        "store/files.py": "import pathlib\nimport orbax.checkpoint\nfrom jaxlth import __version__",
        "plots.py": "import flax.linen as nn\nimport jaxlth.store.atomic",
        "cli.py": "import jaxlth\n\ndef main():\n    from jaxlth import plots, trees",
    }
    for path, source in sources.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(source)
    return root


def test_checker_accepts_a_package_that_keeps_the_order(package):
    assert violations(package) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("masks.py", "from jaxlth import prune", "masks.py: imports `prune`, which is not above"),
        ("masks.py", "import jaxlth.prune", "imports `prune`, which is not above it"),
        ("masks.py", "from jaxlth.cli import main", "imports `cli`, which is not above it"),
        ("masks.py", "from . import prune", "imports `prune`, which is not above it"),
        ("masks.py", "def late():\n    from .prune import x", "imports `prune`, which is not abo"),
        ("scores/weights.py", "from ..prune import x", "imports `prune`, which is not above it"),
        ("scores/weights.py", "from jaxlth import prune", "scores/weights.py: imports `prune`"),
        ("keys.py", "from jaxlth import trees", "imports `trees`, which is not above it"),
        ("plots.py", "from jaxlth import studies", "imports `studies`, which is not above it"),
        ("models/__init__.py", "from jaxlth import data", "imports `data`, which is not above it"),
        ("__init__.py", "from jaxlth import masks", "imports `masks`, which is not above it"),
        ("helpers.py", "", "helpers.py: `helpers` has no layer"),
        ("helpers/__init__.py", "", "helpers/__init__.py: `helpers` has no layer"),
        ("cli.py", "from jaxlth import helpers", "imports `helpers`, which has no layer"),
        ("cli.py", "from experiments import speed", "imports `experiments`, which is never"),
        ("prune.py", "from flax import linen", "functional, and imports `flax`"),
        ("scores/weights.py", "import orbax.checkpoint", "functional, and imports `orbax`"),
        ("graphs/__init__.py", "import pathlib", "functional, and imports `pathlib`"),
    ],
)
def test_checker_finds_a_broken_order(package, path, source, complaint):
    (package / path).parent.mkdir(exist_ok=True)
    (package / path).write_text(source)
    (found,) = violations(package)
    assert complaint in found
