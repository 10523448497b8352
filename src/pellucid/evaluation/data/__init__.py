"""Data sets as people have them: tables, folders, outlines of findings, and whose the images are."""
