"""Calls of models: prompts, text, structured answers, images, feeds; what they used and cost.

How steps of these kinds are written stands above, in `authoring.definitions.llm_steps`. Here is
what they do when they run. pydantic-ai talks to the providers; it is imported when a model is first
called.

    results      what a step returns, with its tokens and cost
    prompts      templates from files, checked when a step is defined
    prices       what tokens cost
    models       from a model's name to its client, kept per event loop
    own_server  chat with a server of FLOWQ_OPENAI_BASE_URL
    failures     what providers and the library raise, as errors of flowq
    recording    each call is a row, written before it is made and ended after it
    text, structured, images, news      the four kinds of steps
    streams      text as it comes
"""
