"""What type checkers and editors see of the public API."""
