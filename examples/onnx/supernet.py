"""What a picture shows, by the network that was found. Needs onnxruntime and numpy: python supernet.py FOLDER PICTURE

FOLDER is what `percepta export supernet --out FOLDER` wrote.
"""

import json
import sys

import numpy as np
import onnxruntime
from picture import batch, middle, read

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/supernet-network.onnx")
config = json.loads(graph.get_modelmeta().custom_metadata_map["config"])
image = batch(middle(read(sys.argv[2])), config["side"], config["side"])
image = np.round(image * 255) / 255  # it was trained on bytes

logits = graph.run(["logits"], {"image": image.astype(np.float32)})[0][0]
probability = np.exp(logits - logits.max())
probability /= probability.sum()
for best in np.argsort(-probability)[:3]:
    print(f"{config['classes'][best]} {probability[best]:.0%}")
