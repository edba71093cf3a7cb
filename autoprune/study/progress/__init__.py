"""Progress of a search: how far it is, its front, and its remaining time."""
