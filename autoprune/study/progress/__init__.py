"""How far a search is, what it found, and how long it still takes."""
