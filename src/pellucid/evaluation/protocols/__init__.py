"""Published recipes by which maps were scored elsewhere, one file each: their figures are comparable to the papers'."""
