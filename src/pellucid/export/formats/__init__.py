"""The export formats, one file each, which has the format's name; its function ``export`` makes the files.

A file that is added here is found by its name (``pellucid.export.registry``), in which a hyphen is an underscore.
Nothing is imported before a format is used, so that listing the formats needs neither torch nor the packages that write
them.
"""
