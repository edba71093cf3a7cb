"""Recommenders: user and item tables, ranked in full."""
