"""Settings of the documentation site, which ``nox -s docs`` builds.

Sphinx with MyST-NB, since it reads the pages and the committed notebooks as they are and checks the
docstrings of the API page on the way. The source folder is the project's root, so that a link from
one file to another means the same here and in the repository.
"""

import re
from pathlib import Path

from sphinx.errors import SphinxError

import pinca_lib

project = "PI-NCA"
version = release = pinca_lib.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc"]
root_doc = "docs/index"
include_patterns = [
    "*.md", "docs/*.md", "notebooks/*.ipynb", "data/README.md", "data/*/README.md",
]  # fmt: skip

myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks show their committed outputs
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types, with shapes and units

html_theme = "furo"
html_title = "PI-NCA"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

FROM_THE_NETWORK = re.compile(
    r"""<(?:script|img|iframe|link)\b[^>]*(?:src|href)=["']?(?:https?:)?//"""
    r"""|(?:@import|url\()\s*["']?(?:https?:)?//"""
)


def setup(app):
    """Keep the bars in docstrings, and the pages free of what needs a network."""
    app.connect("autodoc-process-docstring", keep_bars, priority=900)  # after numpydoc
    app.connect("build-finished", refuse_the_network)


def keep_bars(app, what, name, obj, options, lines):
    """Put another bar, as wide, into ``|x|``, which would be taken for a substitution."""
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda m: m[1] or "\N{DIVIDES}", line) for line in lines]


def refuse_the_network(app, exception):
    """Fail if a page would load a script, a style, a font or an image from elsewhere."""
    for path in [] if exception else Path(app.outdir).rglob("*.[hc][ts][ms]*"):
        text = path.read_text(encoding="utf-8")
        if found := FROM_THE_NETWORK.search(text):
            raise SphinxError(f"{path} loads something from the network: {found[0]}")
