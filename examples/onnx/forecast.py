"""Where somebody goes next. Needs onnxruntime and numpy: python forecast.py FOLDER TRACK.npy

FOLDER is what `percepta export forecast --out FOLDER` wrote; TRACK.npy holds the positions of one car, t 2 in metres,
ten a second, the last one now. No neighbours and no lanes here: all their masks are False, see
`percepta.systems.forecast.scene.tensors` for what they hold.
"""

import json
import sys

import numpy as np
import onnxruntime

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/forecast-futures.onnx")
config = json.loads(graph.get_modelmeta().custom_metadata_map["config"])
steps, track = config["observed_steps"], np.load(sys.argv[2])[-config["observed_steps"] :]

# The agent's own frame: it is at the origin now and looks along x.
ahead = track[-1] - track[max(0, len(track) - 4)]
angle = np.arctan2(ahead[1], ahead[0])
turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
history, seen = np.zeros((1, steps, 2), np.float32), np.zeros((1, steps), bool)
history[0, -len(track) :] = (track - track[-1]) @ turn
seen[0, -len(track) :] = True

given = {
    "history": history,
    "seen": seen,
    "directed": np.ones(1, bool),
    "step_s": np.full(1, config["step_s"], np.float32),
}
given["horizon"], given["sharing"] = np.ones(1, np.float32), np.ones(1, np.float32)
for value in graph.get_inputs():  # whatever is left is empty
    if value.name not in given:
        shape = [size if isinstance(size, int) else 1 for size in value.shape]
        kind = {"tensor(bool)": bool, "tensor(int64)": np.int64}.get(value.type, np.float32)
        given[value.name] = np.zeros(shape, kind)

futures, logits = graph.run(["single", "single_logits"], given)
probability = np.exp(logits[0] - logits[0].max())
probability /= probability.sum()
for mode in np.argsort(-probability):
    x, y = turn @ futures[0, mode, -1] + track[-1]
    print(f"{probability[mode]:.0%}: at ({x:.1f}, {y:.1f}) m after {futures.shape[2] * config['step_s']:.1f} s")
