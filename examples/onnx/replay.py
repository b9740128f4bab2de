"""What a replay shows. Needs onnxruntime and numpy: python replay.py FOLDER FEATURES.npy START END (of it, in seconds)

FOLDER is what `percepta export replay --out FOLDER` wrote, FEATURES.npy what `percepta spotting features VIDEO` made.
"""

import json
import sys

import numpy as np
import onnxruntime

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/replay-grounding.onnx")
config = json.loads(graph.get_modelmeta().custom_metadata_map["config"])
frames = np.load(sys.argv[2]).astype(np.float32)
start, stop = (round(float(second) * config["fps"]) for second in sys.argv[3:5])
before, after = config["past_frames"], config["replay_frames"]
padded = np.pad(frames, ((before, after), (0, 0)))  # what is not there is zero
there = np.arange(after) < max(1, min(after, stop - start))
shown = np.where(there[:, None], padded[start + before : start + before + after], 0)
given = {"past": padded[None, start : start + before], "replay": shown[None], "there": there[None]}
score, reach = (output[0] for output in graph.run(["score", "reach"], given))

times = float(sys.argv[3]) + (np.arange(before) - before + (reach[:, 1] - reach[:, 0]) / 2) / config["fps"]
left = np.where((times >= 0) & (times <= float(sys.argv[3])), 1 / (1 + np.exp(-score.astype(np.float64))), 0)
for _ in range(5):
    best = int(left.argmax())
    print(f"{times[best]:.1f} s {left[best]:.0%}")
    left *= np.minimum(np.abs(times - times[best]) / config["nms_s"], 1) ** 2
