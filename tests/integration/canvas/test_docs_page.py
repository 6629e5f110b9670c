"""The first program of docs/coming-from/celery-canvas.md runs as it is, without a broker."""

import os
import re
import sys
from pathlib import Path

from tests.tools.session import processes

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / "docs/coming-from/celery-canvas.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RUN = """
from flowq import testing

print(testing.run(nightly.flow), nightly.plan.name)
"""


def test_canvas_of_the_page_runs_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text(_BLOCK.findall(_PAGE)[0] + _RUN, encoding="utf-8")
    environment = {**os.environ, "FLOWQ_HOME": str(tmp_path), "PYTHONPATH": str(_ROOT)}

    done = processes.run([sys.executable, file], cwd=tmp_path, env=environment)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'vowels': 6} shop.fetch\n"
