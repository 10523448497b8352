"""Commands that measure what the documentation states; none of them is a test. ``python -m benchmarks.NAME --help``."""
