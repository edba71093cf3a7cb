"""A search and its verification: who asks, who evaluates, who decides."""
