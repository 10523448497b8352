"""The state of one explanation: a copy of the network, hooks on its modules, and its attention calls."""
