"""A network's properties, found by running it: shapes, token layouts, the layer and the attention to explain."""
