"""Interactions: as people keep them, and as they are split."""
