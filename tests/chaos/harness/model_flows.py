"""A program whose every step asks a model, for tests in which its workers are killed.

What a step asks depends on what was answered before it, and all questions are equally long. So an
answer that was lost, exchanged or given twice changes the result, and each call costs the same.
"""

import asyncio
from hashlib import sha256
from typing import Any

from pydantic import BaseModel

import flowq
from flowq import flow
from tests.tools.llm_steps import Summarise

SIGNAL = "approve"


class Approval(BaseModel):
    by: str


async def _said(place: str, before: list[str]) -> str:
    known = sha256("".join(before).encode()).hexdigest()
    result: Any = await Summarise().execute({"text": f"{place} {known}"})
    return str(result.output_content)


@flow(name="tests.chaos.reviewed")
async def reviewed(part: int) -> dict[str, Any]:
    """Ask `4 * part` times: a gather, a loop, a person in between, a task group, a loop."""
    said = await asyncio.gather(*(_said(f"a{number:03}", []) for number in range(part)))
    for number in range(part):
        said.append(await _said(f"b{number:03}", said))
    approval = await flowq.signal(SIGNAL, Approval)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_said(f"c{number:03}", said)) for number in range(part)]
    said += [task.result() for task in tasks]
    for number in range(part):
        said.append(await _said(f"d{number:03}", said))
    return {"said": said, "by": approval.by}
