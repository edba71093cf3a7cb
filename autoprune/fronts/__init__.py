"""A study judged: what must hold, who beats whom, what to pick."""
