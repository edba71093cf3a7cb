"""Decides what to try next: the scan, the rungs, and the Optuna samplers behind both."""
