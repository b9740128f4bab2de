"""ONNX graphs: there is none."""

from __future__ import annotations

EXPORTS = {"network": "a sparse network follows the map's voxels from call to call; ONNX has no sparse convolution"}
