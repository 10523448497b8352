"""The demo: what the tool shows on pictures whose truth is known, on a photograph, and on a DICOM file; one page."""

from pellucid.demo.page import write_demo

__all__ = ["write_demo"]
