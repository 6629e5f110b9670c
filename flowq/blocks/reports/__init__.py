"""What clients see of a run of a document: events, frames by level, a status. Pure."""
