"""Reference pages: `.. public-names:: MODULE` has an entry for each public name of a module.

The public names are those of `__all__`; in a module without it, the functions, classes and
constants that it defines and whose names have no leading underscore.
"""

import ast
import contextlib
import dataclasses
import importlib
import inspect
import pathlib
import re
import types
import typing
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

# Modules that have a page, by the page. Of a study only the config is public.
PAGES = {
    "masks": ["jaxlth.masks"],
    "scores": ["jaxlth.scores", "jaxlth.scores.criteria"],
    "prune": ["jaxlth.prune"],
    "landscape": ["jaxlth.landscape"],
    "graphs": ["jaxlth.graphs"],
    "models": ["jaxlth.models"],
    "data": ["jaxlth.data"],
    "studies": ["jaxlth.studies"],
    "supermasks": ["jaxlth.supermasks"],
    "training": ["jaxlth.training"],
    "plots": [
        "jaxlth.plots.figures",
        "jaxlth.plots.charts",
        "jaxlth.plots.curves",
        "jaxlth.plots.density_lines",
        "jaxlth.plots.mask_plots",
        "jaxlth.plots.network_drawings",
        "jaxlth.plots.outcome_plots",
        "jaxlth.plots.pixel_maps",
    ],
    "keys": ["jaxlth.keys"],
    "settings": ["jaxlth.settings", "jaxlth.settings.ranges"],
    "store": ["jaxlth.store"],
}
# Parts that are no interface: what they do is reached through the modules above.
INTERNAL = {"cli", "distributed", "process", "trees"}
PLAIN = re.compile(r"\||\*(?!\w[^*]*\w\*)(?<!\w\*)")  # not the stars of *emphasis*


def public_names(module: types.ModuleType) -> list[str]:
    """Return the public names of a module, sorted."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    assigned = {
        name.id
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in getattr(node, "targets", [getattr(node, "target", None)])
        for name in ast.walk(target)
        if isinstance(name, ast.Name) and name.id[0].isupper()
    }
    defined = {
        name
        for name, value in vars(module).items()
        if (inspect.isroutine(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }
    return sorted(name for name in assigned | defined if not name.startswith("_"))


def configs() -> dict[str, type]:
    """Return the configs of all studies, by where they are defined."""
    studies = importlib.import_module("jaxlth.studies")
    kinds = [study.Config for study in studies.STUDIES.values()]
    return {f"{kind.__module__}.{kind.__name__}": kind for kind in kinds}


def fields(kind: type) -> list[str]:
    """Return the public fields of a dataclass or named tuple."""
    if dataclasses.is_dataclass(kind):
        return [f.name for f in dataclasses.fields(kind) if not f.name.startswith("_")]
    return list(getattr(kind, "_fields", ()))


def entry(module: str, name: str, value: Any) -> list[str]:
    """Return the lines of reStructuredText that make the entry of one name of a module."""
    where = f"{module}.{name}"
    if inspect.isclass(value):
        without_ranges(value)
        with_comments(value)
        options = ["members:", "inherited-members: tuple"]
        if "Attributes:" not in (value.__doc__ or ""):  # of which Napoleon makes entries
            options.append("undoc-members:")
        return [f".. autoclass:: {where}", *(f"   :{option}" for option in options), ""]
    if inspect.ismodule(value) and any(where in modules for modules in PAGES.values()):
        return []  # it has a section of its own
    if callable(value) and typing.get_origin(value) is None:
        return [f".. autofunction:: {where}{study_arguments(value)}", ""]
    if inspect.ismodule(value):
        lines = [f"The module `{value.__name__}`."]
    else:
        lines = [*constant(value), "", comment(module, name)]
    return [f".. py:data:: {name}", f"   :module: {module}", "", *(f"   {x}" for x in lines), ""]


def study_arguments(value: Any) -> str:
    """Return the arguments of a study's function, without their types; of another one nothing."""
    if not hasattr(value, "__signature__"):
        return ""
    made = value.__signature__
    empty = inspect.Parameter.empty
    bare = [
        argument.replace(
            annotation=empty, default=argument.default if short(argument.default) else empty
        )
        for argument in made.parameters.values()
    ]
    return str(made.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def short(value: Any) -> bool:
    """Return whether a default tells more than it hides; dataclasses have entries of their own."""
    return not dataclasses.is_dataclass(value) and len(repr(value)) <= 60


def comment(module: str, name: str) -> str:
    """Return the comment behind the assignment of a constant, in its module or one within it."""
    file = pathlib.Path(inspect.getsourcefile(importlib.import_module(module)) or "")
    files = file.parent.glob("*.py") if file.name == "__init__.py" else [file]
    found = [
        re.search(rf"^{name}\b[^=\n]*= [^#\n]*  # (.*)$", file.read_text(), re.MULTILINE)
        for file in files
    ]
    return next((match[1] for match in found if match), "")


def constant(value: Any) -> list[str]:
    """Return what the entry of a constant says: its keys, or its value where that is short."""
    if isinstance(value, dict):
        return ["One of:", "", ", ".join(f"``{key}``" for key in value) + "."]
    text = repr(value)
    return [f"``{text}``"] if len(text) < 300 and " at 0x" not in text else ["See the source."]


class PublicNames(SphinxDirective):
    """The docstring of a module and an entry for each of its public names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes."""
        name = self.arguments[0]
        module = importlib.import_module(name)
        lines = [f".. automodule:: {name}", "   :no-members:", ""]
        for public in public_names(module):
            lines += entry(name, public, getattr(module, public))
        return self.parse_text_to_nodes(StringList(lines, name), allow_section_headings=True)


class StudyConfigs(SphinxDirective):
    """An entry for the config of each study, with all its fields."""

    def run(self) -> list[nodes.Node]:
        """Return the nodes."""
        kinds = configs().values()
        lines = [line for kind in kinds for line in entry(kind.__module__, kind.__name__, kind)]
        return self.parse_text_to_nodes(StringList(lines, "configs"), allow_section_headings=True)


def plain_signature(
    app: Any, what: str, name: str, value: Any, options: Any, signature: str, returned: str
) -> tuple[str, str | None]:
    """Leave the signature of a dataclass out: its fields follow."""
    if what == "class" and dataclasses.is_dataclass(value):
        return "", None
    return signature, returned


def as_rest(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Have a docstring say to reStructuredText what it says to a reader.

    Characters such as those of |w| and *_0 are no markup, and an indented block behind a colon in
    the docstring of a module is one of code.
    """
    for place, line in enumerate(lines):
        if what == "module" and line.startswith("  "):
            continue
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(`+[^`]*`+)", line)
            parts[::2] = [PLAIN.sub(r"\\\g<0>", part) for part in parts[::2]]
            lines[place] = "".join(parts)
        block = (
            "".join(lines[place + 2 : place + 3]) if lines[place + 1 : place + 2] == [""] else ""
        )
        if what == "module" and not line.endswith("::") and block.startswith("  "):
            lines[place] += ":" if line.endswith(":") else " ::"
    if what in ("attribute", "data", "property"):
        # Prints nothing; else napoleon takes what stands before a colon for a type.
        lines.insert(0, "\\ ")


def without_ranges(kind: type) -> None:
    """Leave out of the annotations of a class what `Annotated` adds to the types."""
    for base in kind.__mro__:
        own = inspect.get_annotations(base)
        if own and dataclasses.is_dataclass(base):
            with contextlib.suppress(NameError):  # of a name that only type checkers import
                plain = typing.get_type_hints(base)
                base.__annotations__ = {field: plain[field] for field in own}


def with_comments(kind: type) -> None:
    """Let the fields of a dataclass say what the comments behind them say, if nothing else does."""
    if not dataclasses.is_dataclass(kind):
        return
    analyzer = ModuleAnalyzer.for_module(kind.__module__)
    analyzer.analyze()
    for field in fields(kind):
        text = field_text(inspect.getsource(kind), field)
        if text:
            analyzer.attr_docs.setdefault((kind.__qualname__, field), [text, ""])


def field_text(source: str, field: str) -> str:
    """Return the comment behind a field in the source of its class, of several lines as one."""
    behind = re.search(rf"^\s+{field}: [^#\n]*#\s*(.*\n(?:\s+#.*\n)*)", source, re.MULTILINE)
    return "" if behind is None else re.sub(r"\s*\n\s*#\s*", " ", behind[1]).strip()


def field_comment(app: Any, what: str, name: str, value: Any, options: Any, lines: Any) -> None:
    """Put the comment behind a field of a named tuple in the place of what Python says of it."""
    if not (lines and lines[0].startswith("Alias for field number")):
        return
    module, owner, field = name.rsplit(".", 2)
    kind = getattr(importlib.import_module(module), owner)
    lines[:] = [field_text(inspect.getsource(kind), field)]


def short_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Resolve names as docstrings write them, such as `masks.apply`, within the package."""
    target = node.get("reftarget", "").removesuffix("()")
    if node.get("refdomain") != "py" or not re.fullmatch(r"[a-z]\w*(\.\w+)+", target):
        return None
    domain = env.get_domain("py")
    for whole in (f"jaxlth.{target}", target):
        if whole in domain.objects:
            found = domain.objects[whole]
            uri = app.builder.get_relative_uri(node["refdoc"], found.docname)
            reference = nodes.reference(
                "", "", content, internal=True, refuri=f"{uri}#{found.node_id}"
            )
            return reference
    return None


def setup(app: Any) -> dict[str, bool]:
    """Add the directives and what docstrings of this package need."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("study-configs", StudyConfigs)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("autodoc-process-docstring", field_comment, priority=300)
    app.connect("autodoc-process-docstring", as_rest, priority=400)  # before napoleon
    app.connect("missing-reference", short_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
