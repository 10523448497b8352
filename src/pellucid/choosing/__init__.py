"""The layer and the method that are faithful to a network, chosen by measurement, without masks (docs/choosing.md)."""
