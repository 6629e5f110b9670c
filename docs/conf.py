"""How the site is built: `make docs`, with Sphinx.

The pages are Markdown (MyST), readable as they are in a repository or a terminal. Python, CLI and
settings references are made from the code. A warning is an error: a page in no menu, a link to
nothing, a name that autodoc does not find.
"""

import importlib.metadata
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from docutils import nodes  # type: ignore[import-untyped]

project = "flowq"
author = "the authors of flowq"
project_copyright = f"{datetime.now(UTC):%Y}, {author}"
release = importlib.metadata.version("flowq")
version = release

sys.path.insert(0, str(Path(__file__).parent))
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "docstrings",
]
default_role = "py:obj"
#: The class `type` of an annotation is taken for one of our attributes of this name.
suppress_warnings = ["ref.python"]

# --- Pages -------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
#: Only the text of a block is copied, without the prompts and the output of commands.
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
highlight_language = "text"
smartquotes = False  # a quote or two dashes in a command stay as they are typed

# --- Python reference --------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
napoleon_use_rtype = False

# --- Looks -------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"flowq {release}"
html_static_path = ["_static"]
html_css_files = ["flowq.css"]
html_show_sourcelink = False
html_copy_source = False
_TRIED: Final = {
    "flowq": release,
    "Celery": importlib.metadata.version("celery"),
    "Flower": importlib.metadata.version("flower"),
    "Python": platform.python_version(),
}
html_theme_options: dict[str, Any] = {
    "logo": {"text": "flowq"},
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 8,
    "show_nav_level": 1,
    "navbar_align": "left",
    "footer_start": ["tried"],
    "footer_end": [],
    "switcher": {"json_url": "../versions.json", "version_match": release},
    "check_switcher": False,
    "navbar_end": ["version-switcher", "theme-switcher"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
templates_path = ["_templates"]
html_context = {
    "default_mode": "auto",
    "tried": ", ".join(f"{name} {number}" for name, number in _TRIED.items()),
}


#: A block that is a file, with its name after the language.
_FILE: Final = re.compile(r"^( *)```(\w+) ([\w./-]+\.\w+)$", re.MULTILINE)


def _name_files(_app: Any, _page: str, text: list[str]) -> None:
    """Show the name of a file above its block: what follows the language is not shown."""
    text[0] = _FILE.sub(r"\1```{code-block} \2\n\1:caption: \3\n", text[0])


def _lead_to_versions(_app: Any, page: str, _template: str, context: Any, _tree: Any) -> None:
    """Name the list of versions from where a page is: it is beside the folder of each version."""
    switcher = dict(context["theme_switcher"])
    switcher["json_url"] = "../" * (page.count("/") + 1) + "versions.json"
    context["theme_switcher"] = switcher


def _escape_stars(_app: Any, _context: Any, lines: list[str]) -> None:
    """Keep the stars of a cron expression in a help text, which is read as reStructuredText."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def _clear_arguments(_app: Any, _context: Any, lines: list[str]) -> None:
    """Leave out the list of arguments: the usage shows them, and the text explains them."""
    lines.clear()


def _close_brackets(_app: Any, _context: Any, lines: list[str]) -> None:
    """Mend `<GROUP[,GROUP>`: sphinx-click takes brackets off the end of a name of a value."""
    lines[:] = [re.sub(r"\[([^]>]*)>$", r"[\1]>", line) for line in lines]


def _title_commands(_app: Any, page: Any) -> None:
    """Title each command with its whole name: `flowq runs show`."""
    for section in page.findall(nodes.section):
        name = next(iter(section["names"]), "")
        if name.startswith("flowq ") and name != "flowq":
            section[0].children = [nodes.Text(name)]


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.connect("source-read", _name_files)
    app.connect("sphinx-click-process-description", _escape_stars)
    app.connect("sphinx-click-process-arguments", _clear_arguments)
    app.connect("sphinx-click-process-options", _close_brackets)
    app.connect("doctree-read", _title_commands, priority=100)
    app.connect("html-page-context", _lead_to_versions, priority=400)
