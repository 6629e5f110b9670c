"""What happens within one step: its calls, its actions, its loop, its end. Pure."""
