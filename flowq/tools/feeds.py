"""Parses feeds in a process of its own, which is killed when it takes too long.

A feed is untrusted text, and its parser may take minutes for one title. In a thread of the worker
it would hold the GIL: heartbeats would stop, leases would expire, and the next worker would get the
same feed. A thread cannot be killed. A process can, and it can have a limit of memory too.
"""

import asyncio
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from flowq.core.errors import FetchFailed

_PROGRAM: Final = Path(__file__).with_name("feed_items.py")
_MEMORY: Final = 2 * 1024**3
_CHARSET: Final = re.compile(r"charset=[\"']?([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)


async def feed_items(
    body: bytes, url: str, seconds: float, content_type: str = ""
) -> list[dict[str, Any]]:
    """Return the items of a feed: `title`, `link`, `summary`, … as the feed has them.

    Args:
        body: The feed, in any encoding.
        url: Its final URL; its links may be relative to that.
        seconds: The time limit.
        content_type: The content type that its server sent.

    Raises:
        FetchFailed: It is no feed, or too large.
    """
    answer = await asyncio.to_thread(_ask, body, url, seconds, _charset(content_type))
    if "items" not in answer:
        raise FetchFailed(str(answer.get("error") or "it cannot be parsed"))
    items: list[dict[str, Any]] = answer["items"]
    return items


def _charset(content_type: str) -> str:
    found = _CHARSET.search(content_type)
    return found[1] if found else ""


def _ask(body: bytes, url: str, seconds: float, charset: str) -> dict[str, Any]:
    # -P: files of the current folder are not importable; it can import what this process can.
    limits = [str(math.ceil(seconds) + 1), str(_MEMORY)]
    command = [sys.executable, "-P", str(_PROGRAM), url, *limits, charset]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, input=body, capture_output=True, timeout=seconds, check=False, env=environment
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise FetchFailed(f"it took more than {seconds:.3g} s to parse") from None
    except ValueError:
        why = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise FetchFailed(f"its parser ended with {done.returncode}: {why}") from None
    except OSError as error:
        raise FetchFailed(f"cannot start a process to parse it: {error}") from error
    return answer
