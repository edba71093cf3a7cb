"""From a space to a trained model: recipes, plans, stages, training."""
