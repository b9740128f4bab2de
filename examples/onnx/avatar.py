"""How clothes move in a motion. Needs onnxruntime and numpy: python avatar.py FOLDER conditions.npy [out.npz]

FOLDER is what `percepta export avatar --out FOLDER` wrote; conditions (t c) say pose and past of each frame, see
`conditions` in percepta/systems/avatar/latent.py. Prints, for each frame, how far the nodes move away from where the
skeleton carries them; out.npz gets these translations (metres, in the rest pose) and the embeddings of the nodes.
"""

import sys

import numpy as np
import onnxruntime

graph = onnxruntime.InferenceSession(f"{sys.argv[1]}/avatar-decoder.onnx")
conditions = np.load(sys.argv[2]).astype(np.float32)
translation, detail = graph.run(["translation", "detail"], {"condition": conditions})
for frame, moved in enumerate(1000 * np.linalg.norm(translation, axis=-1)):
    print(f"frame {frame}: {moved.mean():.1f} mm on average, node {moved.argmax()} by {moved.max():.1f} mm")
if len(sys.argv) > 3:
    np.savez(sys.argv[3], translation=translation, detail=detail)
