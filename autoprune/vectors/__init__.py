"""Tables of vectors with neighbours: items, documents, faces, words; they are judged by what is found near what."""
