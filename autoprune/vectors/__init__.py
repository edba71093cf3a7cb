"""Tables of vectors that are searched for neighbours: items, documents, faces, words."""
