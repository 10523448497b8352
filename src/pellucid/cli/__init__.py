"""The command line, one file per command. Importing it loads neither torch nor timm, so that --help is fast."""
