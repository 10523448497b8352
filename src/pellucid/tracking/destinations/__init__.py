"""The services that runs are sent to, one file each."""

from pellucid.core.registry import import_files

import_files(__name__, __path__)
