"""Which of some pictures show the place that the first shows: python slam.py FOLDER PICTURES

Needs onnxruntime and numpy. FOLDER is what `percepta export slam --out FOLDER` wrote: the network that describes
places. The rest of slam is geometry and has no graph.
"""

import sys

import numpy as np
import onnxruntime
from picture import batch, read

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/slam-places.onnx")
_, _, height, width = graph.get_inputs()[0].shape
pictures = np.concatenate([batch(read(path), height, width) for path in sys.argv[2:]])

description = graph.run(["description"], {"picture": pictures})[0]  # of length 1
alike = description @ description[0]
for number in np.argsort(-alike):
    print(f"{alike[number]:.3f} {sys.argv[2 + number]}")
