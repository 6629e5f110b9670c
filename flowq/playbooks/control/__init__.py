"""What happens next in an execution of a playbook: the rules of `case`, loops, joins. Pure."""
