"""Settings of the documentation site: `sphinx-build -W --keep-going docs OUT`, without network."""

import pathlib
import sys

import jaxlth

sys.path.insert(0, str(pathlib.Path(__file__).parent / "_extensions"))

project = "jaxlth"
author = "the authors of jaxlth"
copyright = "the authors of jaxlth"
version = release = jaxlth.__version__

extensions = [
    "myst_nb",  # pages in Markdown, and notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",  # docstrings of Google style
    "public_names",  # of this folder: an entry for each public name of a module
]
exclude_patterns = ["_extensions", "pictures", "**.ipynb_checkpoints"]

nb_execution_mode = "off"  # notebooks carry their outputs; tests execute them
myst_heading_anchors = 4  # links such as page.md#a-heading, as on GitHub
myst_links_external_new_tab = False

default_role = "py:obj"  # names in backticks, as docstrings have them; a link where there is one
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"jaxlth {version}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
