"""When what happens. Needs onnxruntime and numpy: python actions.py FOLDER FEATURES.npy [LEAST]

FOLDER is what `percepta export actions --out FOLDER` wrote; FEATURES.npy holds vectors (t c) of one video as `percepta
actions features` writes them. Of a video of more vectors than the graph takes, the first ones are seen.
"""

import json
import sys

import numpy as np
import onnxruntime

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/actions-localiser.onnx")
config = json.loads(graph.get_modelmeta().custom_metadata_map["config"])
length, least = config["max_length"], float(sys.argv[3]) if len(sys.argv) > 3 else 0.2
table = np.load(sys.argv[2]).astype(np.float32).T[:, :length]
n = table.shape[1]
features = np.pad(table, ((0, 0), (0, length - n)))[None]
mask = (np.arange(length) < n).astype(np.float32)[None, None]
logits, offsets = graph.run(["logits", "offsets"], {"features": features, "mask": mask})

levels = range(len(config["windows"]))
stride = np.concatenate([np.full(length >> level, 1 << level) for level in levels])
time = np.concatenate([np.arange(length >> level) << level for level in levels])
score = 1 / (1 + np.exp(-logits[0])) * (time < n)[:, None]
reach = offsets[0] * stride[:, None]
seconds = config["stride"] / config["fps"]
span = np.clip(np.stack([time - reach[:, 0], time + reach[:, 1]], 1), 0, n) * seconds

# The best first; what overlaps a better one of its class by more than a third is a double.
kept = []
for place in np.argsort(-score, axis=None):
    row, label = divmod(int(place), score.shape[1])
    if score[row, label] < least or len(kept) == 20:
        break
    start, end = span[row]
    doubles = (min(end, b) - max(start, a) > (max(end, b) - min(start, a)) / 3 for a, b, k, _ in kept if k == label)
    if end > start and not any(doubles):
        kept.append((start, end, label, score[row, label]))
for start, end, label, sure in kept:
    print(f"{start:.1f} to {end:.1f} s: {config['labels'][label]} {sure:.0%}")
