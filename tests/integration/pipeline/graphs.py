"""Graphs of LangGraph at the top of a module, as an application has them."""

import asyncio
import operator
import os
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from tests.tools.llm_steps import Summarise


class State(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]
    trail: Annotated[list[str], operator.add]
    urgent: bool
    folder: str


def classify(state: State) -> dict[str, Any]:
    last = state["messages"][-1].content
    return {"urgent": "fire" in last, "trail": ["classify"]}


def hurry(state: State) -> dict[str, Any]:
    return {"trail": ["hurry"]}


async def answer(state: State) -> dict[str, Any]:
    await asyncio.sleep(0)
    text = "at once" if state["urgent"] else "in time"
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    return {"messages": [AIMessage(text, usage_metadata=usage)], "trail": ["answer"]}


def fragile(state: State) -> dict[str, Any]:
    """Kill the process the first time."""
    mark = Path(state["folder"]) / "tried"
    with mark.open("a") as out:
        out.write("x")
    if len(mark.read_text()) == 1:
        os._exit(9)
    return {"trail": ["fragile"]}


def counted(state: State) -> dict[str, Any]:
    with (Path(state["folder"]) / "counted").open("a") as out:
        out.write("x")
    return {"trail": ["counted"]}


def broken(state: State) -> None:
    raise ValueError("no")


async def ask(state: State) -> dict[str, Any]:
    """Ask the model of flowq, whose calls are recorded."""
    said = await Summarise().execute({"text": state["messages"][-1].content})
    return {"messages": [AIMessage(said.output_content)], "trail": ["ask"]}


def asking() -> Any:
    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    return builder


def triage() -> Any:
    builder = StateGraph(State)
    builder.add_node("classify", classify)
    builder.add_node("hurry", hurry)
    builder.add_node("answer", answer)
    builder.add_edge(START, "classify")
    builder.add_conditional_edges(
        "classify", lambda state: "hurry" if state["urgent"] else "answer"
    )
    builder.add_edge("hurry", "answer")
    builder.add_edge("answer", END)
    return builder


def failing() -> Any:
    builder = StateGraph(State)
    builder.add_node("broken", broken)
    builder.add_edge(START, "broken")
    return builder.compile()


def crashing() -> Any:
    builder = StateGraph(State)
    builder.add_node("counted", counted)
    builder.add_node("fragile", fragile)
    builder.add_edge(START, "counted")
    builder.add_edge("counted", "fragile")
    return builder


TRIAGE = triage().compile()
REMEMBERING = triage().compile(checkpointer=InMemorySaver())


def sqlite_saver() -> Any:
    return AsyncSqliteSaver.from_conn_string(os.environ["CHECKPOINTS"])
