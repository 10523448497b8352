"""The figures of the page, by matplotlib: one file each, and what they share in ``drawing``."""
