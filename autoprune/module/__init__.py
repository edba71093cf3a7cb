"""Any `nn.Module` of the user's own: our tables replace its embeddings, everything else stays as it is."""
