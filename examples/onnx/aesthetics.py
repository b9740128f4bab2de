"""What the crowd would say of photographs, the best first: python aesthetics.py FOLDER PICTURES

Needs onnxruntime and numpy. FOLDER is what `percepta export aesthetics --out FOLDER` wrote. The taste of one person
is no part of the graph: it is a few lines of linear algebra on `features`, see `percepta.systems.aesthetics.taste`.
"""

import json
import sys

import onnxruntime
from picture import batch, read

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/aesthetics-picture.onnx")
size = json.loads(graph.get_modelmeta().custom_metadata_map["config"])["size"]

scores = {}
for path in sys.argv[2:]:
    image = batch(read(path), size, size)  # the whole picture, squeezed into a square
    features, score = graph.run(["features", "score"], {"image": image})
    scores[path] = float(score[0])
for path in sorted(scores, key=lambda path: -scores[path]):
    print(f"{scores[path]:.3f} {path}")
