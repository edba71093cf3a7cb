"""What an artifact scored, how sure that is, and how long it takes to answer."""
