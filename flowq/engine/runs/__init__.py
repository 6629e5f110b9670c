"""What users do with a run: submit, pause, resume, cancel, send a signal."""
