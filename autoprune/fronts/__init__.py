"""How a study is judged: requirements, Pareto fronts, and which candidate to pick."""
