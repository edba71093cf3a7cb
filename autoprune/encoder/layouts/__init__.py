"""The types of transformers that can be read and written, as plain data."""
