"""What a call of a step means: traced in a graph, recorded in a program, or plain."""
