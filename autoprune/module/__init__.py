"""Any `nn.Module` of the user's own: its lookup tables in ours, all else as it is."""
