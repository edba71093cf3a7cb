"""A study on disk: its definition, and every candidate so far."""
