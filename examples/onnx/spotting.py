"""When what happens in a half. Needs onnxruntime and numpy: python spotting.py FOLDER FEATURES.npy

FOLDER is what `percepta export spotting --out FOLDER` wrote, FEATURES.npy what `percepta spotting features VIDEO` made.
"""

import json
import sys

import numpy as np
import onnxruntime

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/spotting-temporal.onnx")
config = json.loads(graph.get_modelmeta().custom_metadata_map["config"])
frames = np.load(sys.argv[2]).astype(np.float32)
logits, ahead = (output[0] for output in graph.run(["logits", "ahead"], {"frames": frames[None]}))
scores = 1 / (1 + np.exp(-logits))

found = []
for c, label in enumerate(config["classes"]):
    at = np.flatnonzero(scores[:, c] >= config["least_score"])
    times = np.clip((at + ahead[at, c]) / config["fps"], 0, (len(frames) - 1) / config["fps"])
    left = scores[at, c].astype(np.float64)
    while len(left) and left.max() >= config["least_score"]:
        best = int(left.argmax())  # the neighbours of the best moment lose score by how near they are
        found.append((left[best], times[best], label))
        left *= np.minimum(np.abs(times - times[best]) / config["nms_s"], 1) ** 2
for score, time, label in sorted(found, reverse=True):
    print(f"{time:.1f} s {label} {score:.0%}")
