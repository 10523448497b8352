"""All that knows about models: the probe, layer choice, layouts, outputs, sources and checkpoints."""
