#!/usr/bin/env python
"""The published command line for Grad-CAM, as an adapter over ``pellucid explain``."""

from __future__ import annotations

import argparse
import sys


def arguments(given: list[str]) -> argparse.Namespace:
    """Parse the published options."""
    parser = argparse.ArgumentParser(description="Grad-CAM heatmaps and overlays of a checkpoint's predictions.")
    parser.add_argument("--checkpoint", required=True, help="weights file; the architecture is recognised")
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--image", help="image or DICOM file")
    images.add_argument("--image-dir", help="folder of image or DICOM files")
    parser.add_argument("--output", required=True, help="folder to write the results to")
    parser.add_argument("--method", default="gradcam", choices=["gradcam", "gradcam++"])
    parser.add_argument("--target-layer", help="layer, such as layer4 (default: found automatically)")
    parser.add_argument("--class-idx", type=int, help="index of the class to explain (default: the predicted class)")
    parser.add_argument("--alpha", type=float, default=0.5, help="overlay opacity, 0 to 1")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--no-cuda", action="store_true", help="compute on the CPU")
    parser.add_argument("--verbose", action="store_true", help="show a progress bar and a table")
    return parser.parse_args(given)


def translated(options: argparse.Namespace) -> list[str]:
    """Translate the published options into arguments of ``pellucid``."""
    command = ["explain", "--output", options.output, "--no-page"]
    command += ["--checkpoint", options.checkpoint, "--method", options.method]
    command += ["--alpha", str(options.alpha), "--batch-size", str(options.batch_size)]
    command += ["--target", "predicted" if options.class_idx is None else str(options.class_idx)]
    command += ["--layer", options.target_layer] if options.target_layer else []
    command += ["--device", "cpu"] if options.no_cuda else []
    command += [] if options.verbose else ["--quiet"]
    return [*command, "--", options.image or options.image_dir]


if __name__ == "__main__":
    from pellucid.cli.main import app

    app(translated(arguments(sys.argv[1:])))
