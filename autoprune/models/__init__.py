"""Models that name their axes: what can be cut together."""
