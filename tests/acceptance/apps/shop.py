"""A folder with the flows of a shop, its worker, and the environment that Flower needs for it."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowq.entrypoints.fake_llm import FakeLlm
from tests.acceptance.commands import Shell

FILE = "shop.py"
#: Reads a list of what to enqueue; prints the ids.
ENQUEUE = """
import json, shop, sys

runs = [getattr(shop, name).enqueue(**inputs) for name, inputs in json.load(sys.stdin)]
print(json.dumps([str(run.id) for run in runs]))
"""
PROMPTS = {
    "summarise.txt": "Summarise this for our customers: {{ text }}",
    "describe.txt": "Give a title and key points: {{ text }}",
}


@dataclass
class Shop:
    """The folder of a shop."""

    shell: Shell

    @property
    def catalogue(self) -> Path:
        """The file for which `import_catalogue` waits."""
        return self.shell.folder / "catalogue.csv"

    def enqueue(self, *runs: tuple[str, dict[str, Any]]) -> list[str]:
        """Enqueue runs by the names of their flows; return their ids."""
        ids: list[str] = json.loads(self.shell.python(ENQUEUE, given=json.dumps(runs)))
        return ids


@contextmanager
def open_shop(folder: Path, llm: FakeLlm) -> Iterator[Shop]:
    """Have a shop with a database, an embedded server and a worker."""
    shutil.copy(Path(__file__).with_name("shop_flows.py"), folder / FILE)
    (folder / "prompts").mkdir()
    for name, text in PROMPTS.items():
        (folder / "prompts" / name).write_text(text)
    environment = {
        "FLOWQ_MODEL": "openai:fake",
        "FLOWQ_OPENAI_BASE_URL": llm.url,
        "FLOWQ_PRICES": json.dumps({"fake": {"input": 300, "output": 1200}}),
    }
    shell = Shell(folder, environment)
    shell.environment["PYTHONPATH"] += f":{folder}"
    assert 0 == shell.flowq("db", "upgrade").code
    try:
        with shell.worker("--pool", "threads", "--concurrency", "8", target=FILE):
            shop = Shop(shell)
            try:
                yield shop
            finally:
                shop.catalogue.touch()  # what still waits for it ends
    finally:
        shell.stop_server()
