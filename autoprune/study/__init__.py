"""A search and its verification: what is tried, who evaluates it, and what is kept."""
