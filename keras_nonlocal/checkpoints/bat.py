"""BAT and its NL: BA-Transform's BAT-Image-Classification and BAT-Video-Classification.

In the image code, the parts of the NL have CGNL's names; the video code pools before phi.1 and g.1.
"""

from keras_nonlocal.checkpoints.names import Format, torch_file
from keras_nonlocal.checkpoints.torchvision import TRUNK

FORMAT = Format(
    read=torch_file("state_dict"),
    layers=TRUNK
    | {
        r"fc": "fc",
        r"(layer[1-4])\.nl(\d+)\.conv1\.0": "{}_{}_block/reduce",
        r"(layer[1-4])\.nl(\d+)\.conv1\.1": "{}_{}_block/reduce_norm",
        r"(layer[1-4])\.nl(\d+)\.batransform\.conv1\.0": "{}_{}_block/context",
        r"(layer[1-4])\.nl(\d+)\.batransform\.conv1\.1": "{}_{}_block/context_norm",
        r"(layer[1-4])\.nl(\d+)\.batransform\.conv_([pqt])": "{}_{}_block/{}",
        r"(layer[1-4])\.nl(\d+)\.batransform\.conv2\.0": "{}_{}_block/mix",
        r"(layer[1-4])\.nl(\d+)\.batransform\.conv2\.1": "{}_{}_block/mix_norm",
        r"(layer[1-4])\.nl(\d+)\.conv2\.0": "{}_{}_block/out",
        r"(layer[1-4])\.nl(\d+)\.conv2\.1": "{}_{}_block/norm",
        r"(layer[1-4])\.nl(\d+)\.(theta|phi|g)(?:\.1)?": "{}_{}_block/{}",
        r"(layer[1-4])\.nl(\d+)\.W\.0": "{}_{}_block/out",
        r"(layer[1-4])\.nl(\d+)\.W\.1": "{}_{}_block/norm",
        r"(layer[1-4])\.nl(\d+)\.t": "{}_{}_block/theta",
        r"(layer[1-4])\.nl(\d+)\.p": "{}_{}_block/phi",
        r"(layer[1-4])\.nl(\d+)\.z": "{}_{}_block/out",
        r"(layer[1-4])\.nl(\d+)\.bn": "{}_{}_block/norm",
    },
)
