"""Which of some pictures are most like the first, by their bits: python hashing.py FOLDER PICTURES

Needs onnxruntime and numpy. FOLDER is what `percepta export hashing --out FOLDER` wrote. Bits are the signs of
`margin`; how alike two pictures are is how many bits they share.
"""

import sys

import numpy as np
import onnxruntime
from picture import batch, read

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/hashing-picture.onnx")
side = graph.get_inputs()[0].shape[2]

bits = {}
for path in sys.argv[2:]:
    margin = graph.run(["margin"], {"image": batch(read(path), side, side)})[0][0]
    bits[path] = np.packbits(margin > 0)  # 512 bits in 64 bytes

first = bits[sys.argv[2]]
apart = {path: int(np.unpackbits(first ^ code).sum()) for path, code in bits.items()}
for path in sorted(apart, key=lambda path: apart[path]):
    print(f"{apart[path]} bits apart: {path}")
