"""How the site is built: `make docs`, with Sphinx.

The pages are Markdown (MyST), readable as they are in a repository or a terminal. Python, CLI and
settings references are made from the code. A warning is an error: a page in no menu, a link to
nothing, a name that autodoc does not find.
"""

import importlib.metadata
import platform
from datetime import UTC, datetime
from typing import Any, Final

project = "flowq"
author = "the authors of flowq"
project_copyright = f"{datetime.now(UTC):%Y}, {author}"
release = importlib.metadata.version("flowq")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
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
autodoc_class_signature = "separated"
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


def _mark_examples(*event: Any) -> None:
    """Make the indented examples of a docstring Python blocks, before its sections begin."""
    lines: list[str] = event[-1]
    for number in range(len(lines) - 1, 0, -1):
        is_first = lines[number].startswith("    ") and not lines[number - 1].strip()
        text_above = [line for line in lines[:number] if line and not line.startswith(" ")]
        if is_first and not (text_above and text_above[-1].startswith((":", ".."))):
            lines[number:number] = [".. code-block:: python", ""]


def _lead_to_versions(_app: Any, page: str, _template: str, context: Any, _tree: Any) -> None:
    """Name the list of versions from where a page is: it is beside the folder of each version."""
    switcher = dict(context["theme_switcher"])
    switcher["json_url"] = "../" * (page.count("/") + 1) + "versions.json"
    context["theme_switcher"] = switcher


def _escape_stars(_app: Any, _context: Any, lines: list[str]) -> None:
    """Keep the stars of a cron expression in a help text, which is read as reStructuredText."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.connect("sphinx-click-process-description", _escape_stars)
    app.connect("autodoc-process-docstring", _mark_examples)
    app.connect("html-page-context", _lead_to_versions, priority=400)
