"""The forms of data sets, one file each: what makes cases of a folder, a table or an annotation file."""

from pellucid.core.registry import import_files

import_files(__name__, __path__)
