"""Readers of tables that were trained elsewhere: vectors with names for their rows, by format. They know no family."""
