"""The export formats, one file each: the file's name is the format's, and its function ``export`` makes the files.

A file that is added here is found by its name (``pellucid.export.registry``). Nothing is imported before a format is
used, so that listing the formats needs neither torch nor the packages that write them.
"""
