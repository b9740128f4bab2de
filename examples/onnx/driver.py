"""What a driver does. Needs onnxruntime and numpy: python driver.py FOLDER VIEW=FILE.npz ...

FOLDER is what `percepta export driver --out FOLDER` wrote; a file is what `percepta driver features` keeps of one view.
Prints the likeliest class of each stretch of time; the decoder, which knows how long activities last, is in percepta.
"""

import json
import sys

import numpy as np
import onnxruntime

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/driver-classifier.onnx")
config = json.loads(graph.get_modelmeta().custom_metadata_map["config"])
views, length = config["views"], config["max_length"]
files = dict(word.split("=", 1) for word in sys.argv[2:])
features = {}
for view, file in files.items():
    data = np.load(file)
    look, thumb = data["look"].astype(np.float32), data["thumb"].astype(np.float32).reshape(len(data["thumb"]), -1)
    moved = 10 * np.abs(np.diff(thumb, axis=0, prepend=thumb[:1]))
    vector = np.concatenate([look, moved], 1)
    features[view] = vector - vector.mean(0)  # what is usual for this camera is taken off

moments = min(len(some) for some in features.values())
labels = []
for first in range(0, moments, length):
    count = min(length, moments - first)
    given = np.zeros((1, len(views), length, next(iter(features.values())).shape[1]), np.float32)
    present = np.zeros((1, len(views), length), np.float32)
    for view, some in features.items():
        given[0, views.index(view), :count] = some[first : first + count]
        present[0, views.index(view), :count] = 1
    (fused,) = graph.run(["fused"], {"features": given, "present": present})
    labels += fused[0, :count].argmax(1).tolist()

start = 0
for moment in range(1, moments + 1):
    if moment == moments or labels[moment] != labels[start]:
        print(f"{start / config['fps']:.1f} to {moment / config['fps']:.1f} s: {config['labels'][labels[start]]}")
        start = moment
