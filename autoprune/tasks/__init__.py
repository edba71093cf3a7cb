"""What a task is, and what a metric is."""
