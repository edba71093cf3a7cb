"""How an artifact is measured: quality, its errors, and latency."""
