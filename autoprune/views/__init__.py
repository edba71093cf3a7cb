"""Presents a study to people and programs: tables, sentences, plots, JSON, CSV, the model card."""
