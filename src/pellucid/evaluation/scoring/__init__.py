"""From cases to scores: images on the grid of the network's input, maps by methods and priors, a value each."""
