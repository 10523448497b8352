"""Where a model becomes a probe: explaining, and the published attack."""
