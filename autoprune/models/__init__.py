"""Models with named axes: what can be cut together."""
