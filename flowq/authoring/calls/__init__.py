"""The three meanings of calling a step: traced in a graph, recorded in a program, or plain."""
