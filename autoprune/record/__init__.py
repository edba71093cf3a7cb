"""A study on disk: what it was asked, and every candidate so far."""
