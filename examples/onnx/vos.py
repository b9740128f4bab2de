"""Follows a thing through a video. Needs onnxruntime and numpy: python vos.py FOLDER FRAMES.npy MASK.npy MASKS.npy

FOLDER is what `percepta export vos --out FOLDER` wrote; FRAMES.npy holds bytes t h w 3, MASK.npy the thing in the first
frame (h w, 0 or 1), MASKS.npy gets it in all of them. The memory is no graph: here it is the first frame and every
fifth of the last fifty, read by similarity.
"""

import sys

import numpy as np
import onnxruntime
from picture import batch, resize

BEST, EVERY, MOST = 30, 5, 10  # elements that are read, frames between two that are kept, frames that are kept


def read(elements: list, key: np.ndarray, selection: np.ndarray) -> np.ndarray:
    """Values of the best elements for each place, by softmax (XMem, equation 2)."""
    keys, shrink, values = (np.concatenate(part, -1) for part in zip(*elements, strict=True))
    score = 2 * keys.T @ (key * selection) - (keys**2).T @ selection - (selection * key**2).sum(0)
    score = score * shrink.T / np.sqrt(len(key))
    best = np.argpartition(-score, BEST - 1, 0)[:BEST]
    weight = np.exp(np.take_along_axis(score, best, 0) - score.max(0))
    return np.einsum("kq,ckq->cq", weight / weight.sum(0), values[:, best])


folder, frames, given = sys.argv[1], np.load(sys.argv[2]), np.load(sys.argv[3])
see, keep, find = (onnxruntime.InferenceSession(f"{folder}/vos-{part}.onnx") for part in ("picture", "values", "masks"))
names = [value.name for value in see.get_outputs()]
_, _, height, width = see.get_inputs()[0].shape

marked = resize(given[:, :, None], height, width)[None, :, :, 0].round()  # 1 h w
first, seen, memory, masks = None, {}, [], []
mask = marked
for number, frame in enumerate(frames):
    before, seen = seen, dict(zip(names, see.run(None, {"image": batch(frame, height, width)}), strict=True))
    key, shrink, selection = (
        seen[name][0].reshape(seen[name].shape[1], -1) for name in ("key", "shrinkage", "selection")
    )
    features = {name: seen[name] for name in ("s16", "s8", "s4")}
    if number == 0:
        first = seen["fine"]
    else:
        readout = read(memory, key, selection).reshape(1, -1, *seen["key"].shape[2:]).astype(np.float32)
        asked = {**features, "now": seen["fine"], "last": before["fine"], "masks": mask, "first": first}
        logits = find.run(["logits"], {**asked, "marked": marked, "readout": readout})[0]
        mask = 1 / (1 + np.exp(-resize(logits[0][:, :, None], height, width)))[None, :, :, 0].astype(np.float32)
    if number % EVERY == 0:
        values = keep.run(["values"], {**features, "masks": mask})[0][0]
        memory = memory[:1] + memory[1:][1 - MOST :] + [(key, shrink, values.reshape(len(values), -1))]
    masks.append(resize(mask[0][:, :, None], *frame.shape[:2])[:, :, 0] > 0.5)
    print(f"frame {number}: {masks[-1].mean():.1%} of the picture")
np.save(sys.argv[4], np.stack(masks))
