"""What embeddings are judged by."""
