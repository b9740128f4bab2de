"""What a picture shows. Needs onnxruntime and numpy: python distill.py FOLDER PICTURE

FOLDER is what `percepta export distill --out FOLDER` wrote.
"""

import json
import sys

import numpy as np
import onnxruntime
from picture import batch, middle, read

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/distill-classifier.onnx")
config = json.loads(graph.get_modelmeta().custom_metadata_map["config"])  # the settings travel in the graph
image = batch(middle(read(sys.argv[2])), config["size"], config["size"])

logits = graph.run(["logits"], {"image": image})[0][0]
probability = np.exp(logits - logits.max())
probability /= probability.sum()

best = int(probability.argmax())
answer = f"{config['classes'][best]} {probability[best]:.0%}"
print(answer if probability[best] >= config["unsure_below"] else f"unsure ({answer})")
