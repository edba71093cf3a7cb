"""Exports of tables to the formats of other libraries."""
