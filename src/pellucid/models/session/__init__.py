"""A model while it is explained: a network of its own, hooks on it, and the attention calls that it makes."""
