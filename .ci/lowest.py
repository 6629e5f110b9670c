"""Print, as a constraints file, the oldest version of each library that pyproject.toml allows."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
for requirement in [*project["dependencies"], *extras["embedded"], *extras["postgres"]]:
    found = re.match(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)", requirement)
    assert found, f"no lower bound: {requirement}"
    print(f"{found[1]}=={found[2]}")
