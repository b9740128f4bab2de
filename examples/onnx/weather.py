"""What a street consists of. Needs onnxruntime and numpy: python weather.py FOLDER PICTURE [LABELS.npy]

FOLDER is what `percepta export weather --out FOLDER` wrote; LABELS.npy gets the number of each pixel's class.
"""

import sys

import numpy as np
import onnxruntime
from picture import batch, read, resize

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)  # fmt: skip  (of CamVid, which `small` knows)

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/weather-segmenter.onnx")
picture = read(sys.argv[2])
_, _, height, width = graph.get_inputs()[0].shape

logits = graph.run(["logits"], {"image": batch(picture, height, width)})[0][0]  # at a quarter of the size
labels = resize(logits.transpose(1, 2, 0), *picture.shape[:2]).argmax(2)
for number in np.argsort(-np.bincount(labels.ravel(), minlength=len(CLASSES))):
    if share := float((labels == number).mean()):
        print(f"{CLASSES[number]} {share:.1%}")
if len(sys.argv) > 3:
    np.save(sys.argv[3], labels.astype(np.uint8))
