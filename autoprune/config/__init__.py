"""The config: composed by Hydra, read with OmegaConf. This room alone knows both."""
