"""The configs that ship with autoprune, found by Hydra as `pkg://autoprune.conf`."""
