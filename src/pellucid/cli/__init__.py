"""The command line: one file a command. Importing it loads neither torch nor timm."""
