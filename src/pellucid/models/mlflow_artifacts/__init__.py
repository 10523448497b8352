"""Models that MLflow keeps: what a name stands for, where its files are, and their weights, without running any of it.

Nothing of MLflow is imported: its client downloads whatever a server lists, changes the schema of databases and writes
into folders that it reads, and its loaders run what they load. Here everything is read only.
"""
