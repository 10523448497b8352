"""The demo: one HTML page that explains images with known truth, a photograph and a DICOM file."""

from pellucid.demo.page import write_demo

__all__ = ["write_demo"]
