"""From a recipe to a candidate: made, measured, judged, kept or rebuilt."""
