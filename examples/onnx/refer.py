"""Where in a picture something is. Needs onnxruntime and numpy: python refer.py FOLDER PICTURE "the red cup" [MASK.npy]

FOLDER is what `percepta export refer --out FOLDER` wrote: three graphs and the vocabulary. Of a picture that is asked
about several things the first graph runs once.
"""

import json
import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
import onnxruntime
from picture import batch, read, resize

GREY = 127 / 255  # around a picture that is no square
THRESHOLD = 0.4  # of the score, as preset small has it


def word_ids(sentence: str, vocabulary: dict[str, int]) -> list[int]:
    """The longest known pieces of each word, from its beginning (WordPiece)."""
    plain = unicodedata.normalize("NFD", sentence.lower())
    plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    ids = [vocabulary["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", plain):
        pieces, start = [], 0
        while start < len(word):
            ends = [e for e in range(len(word), start, -1) if ("##" if start else "") + word[start:e] in vocabulary]
            if not ends:
                pieces = [vocabulary["[UNK]"]]
                break
            pieces.append(vocabulary[("##" if start else "") + word[start : ends[0]]])
            start = ends[0]
        ids += pieces
    return [*ids[:31], vocabulary["[SEP]"]]


folder, path, words = sys.argv[1:4]
parts = ("picture", "sentence", "reply")
see, understand, answer = (onnxruntime.InferenceSession(f"{folder}/refer-{part}.onnx") for part in parts)
vocabulary = json.loads(Path(folder, "refer-tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]

picture = read(path)
side = see.get_inputs()[0].shape[2]
scale = side / max(picture.shape[:2])  # the picture keeps its shape, in the middle of a square
height, width = (max(1, round(size * scale)) for size in picture.shape[:2])
top, left = (side - height) // 2, (side - width) // 2
square = np.full((1, 3, side, side), GREY, np.float32)
square[:, :, top : top + height, left : left + width] = batch(picture, height, width)

kept = dict(zip(("s16", "s8", "s4", "places"), see.run(None, {"image": square}), strict=True))
ids = np.array([word_ids(words, vocabulary)], np.int64)
tokens, sentence = understand.run(None, {"ids": ids})
names = {value.name for value in answer.get_inputs()}
given = {**kept, "tokens": tokens, "sentence": sentence, "ids": ids}
logits, presence, _ = answer.run(None, {name: value for name, value in given.items() if name in names})

score = 1 / (1 + np.exp(-float(presence[0])))
full = resize(logits[0, :, :, None], side, side)[top : top + height, left : left + width]
mask = resize(full, *picture.shape[:2])[:, :, 0] > 0
print(
    f"{words} {score:.0%}, {mask.mean():.1%} of the picture"
    if score >= THRESHOLD
    else f"{words}: not found ({score:.0%})"
)
if len(sys.argv) > 4:
    np.save(sys.argv[4], mask if score >= THRESHOLD else np.zeros_like(mask))
