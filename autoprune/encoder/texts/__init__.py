"""Texts without labels: a user's own, read from files and split, and general English beside them."""
