"""The environments of the other engines: made once, with the newest release, and kept.

They stand in `.venv-peers/NAME` of the repository, which git ignores. Remove the folder to measure
newer releases.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".venv-peers"


class NotInstalledError(Exception):
    """An engine cannot be installed here; the text says why."""


@dataclass(frozen=True)
class Environment:
    """Where an engine is installed.

    Attributes:
        python: Its interpreter.
        version: Of the engine.
    """

    python: Path
    version: str


def environment(package: str) -> Environment:
    """Return the environment of a package, and make it first where there is none.

    Raises:
        NotInstalledError: The package cannot be installed.
    """
    folder = FOLDER / package
    python = folder / "bin" / "python"
    version = _version(python, package)
    if version is None:
        print(f"Installing {package} …", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        _run([*pip, "--upgrade", package])
        version = _version(python, package)
    if version is None:
        raise NotInstalledError("it is not there after it was installed")
    return Environment(python, version)


def _version(python: Path, package: str) -> str | None:
    if not python.exists():
        return None
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalledError(lines[-1] if lines else f"{command[:4]} failed")
