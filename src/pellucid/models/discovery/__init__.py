"""What a network is like, found by running it: shapes, how tokens lie, which layer and which attention to explain."""
