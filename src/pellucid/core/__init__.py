"""Types and rules: they know torch, and nothing else of pellucid but its errors."""
