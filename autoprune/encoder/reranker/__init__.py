"""Cross-encoders: two texts in, a score out. Their layers are `autoprune.encoder`'s; here is what stands on them."""
