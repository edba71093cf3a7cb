"""The folder that ships: written, read and served."""
