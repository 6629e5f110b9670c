"""Builds the site: `make docs`. A warning is an error.

Each version has a folder of its own below `site`; a menu on each page leads to the same page of the
other versions that are there, and the front page to the newest one. Pages of older versions stay as
they were built.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from packaging.version import Version
from sphinx.cmd.build import build_main

PAGES: Final = Path(__file__).parent
_FRONT: Final = (
    '<!doctype html><meta http-equiv="refresh" content="0; url={0}/"><a href="{0}/">flowq {0}</a>\n'
)


def build(site: Path) -> int:
    """Build the site of the installed version into a folder; return the exit code of Sphinx."""
    here = version("flowq")
    target = site / here
    failed = build_main(["-b", "html", "-q", "-W", "--keep-going", str(PAGES), str(target)])
    if failed:
        return failed
    built = sorted(
        (Version(folder.name) for folder in site.iterdir() if folder.is_dir()), reverse=True
    )
    menu = [
        {
            "name": str(each),
            "version": str(each),
            "url": f"../{each}/",
            "preferred": each == built[0],
        }
        for each in built
    ]
    (site / "versions.json").write_text(json.dumps(menu), encoding="utf-8")
    (site / "index.html").write_text(_FRONT.format(built[0]), encoding="utf-8")
    print(f"{target}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if len(sys.argv) > 1 else "site")))
