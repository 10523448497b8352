"""Shapes and dtypes for signatures: tensors to a type checker, and their axes to a reader and to the tests.

B images, K maps for each image, C classes; ``*space`` is the image's size, ``*grid`` the layer's, both of 1 to 3 axes.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from torch import Tensor

Heatmaps: TypeAlias = Annotated[Tensor, "float32 (B, K, *space)"]
LayerMaps: TypeAlias = Annotated[Tensor, "float32 (B, K, *grid)"]
Logits: TypeAlias = Annotated[Tensor, "float32 (B, C)"]
Indices: TypeAlias = Annotated[Tensor, "int64 (B, K)"]
Flags: TypeAlias = Annotated[Tensor, "bool (B, K)"]
Figures: TypeAlias = Annotated[Tensor, "float32 (B, K)"]
Scores: TypeAlias = Annotated[Tensor, "floating (B, K)"]
ClassMaps: TypeAlias = Annotated[Tensor, "floating (B, C) or (B, C, *space)"]
Maps: TypeAlias = Annotated[Tensor, "floating (B, K, *grid)"]
Weights: TypeAlias = Annotated[Tensor, "floating (B, K, channels, *grid) or (B, K, channels, 1, …)"]
Activations: TypeAlias = Annotated[Tensor, "floating (B, 1, channels, *grid)"]
