"""The config: composed by Hydra, read with OmegaConf. Only this package (and `app.py`) imports them."""
