"""Calls of models: prompts, text, structured answers, images, feeds; usage and cost.

The classes of such steps are in `authoring.definitions.llm_steps`; this package runs them.
pydantic-ai talks to the providers; it is imported at the first call of a model.

    results      what a step returns, with its tokens and cost
    prompts      templates from files, checked when a step is defined
    prices       what tokens cost
    models       from a model's name to its client, kept per event loop
    own_server   chat with a server of FLOWQ_OPENAI_BASE_URL
    failures     errors of providers and the library, as errors of flowq
    recording    each call is a row, written before it is made and ended after it
    text, structured, images, news      the four kinds of steps
    streams      text as it comes
"""
