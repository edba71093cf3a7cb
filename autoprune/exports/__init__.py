"""Tables of any family, written for other libraries."""
