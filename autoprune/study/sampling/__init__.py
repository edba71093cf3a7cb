"""What is tried next: the scan, the rungs, and the conversation with Optuna behind both."""
