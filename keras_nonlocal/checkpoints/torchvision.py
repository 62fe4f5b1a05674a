"""torchvision's ResNet and ResNeXt."""

from keras_nonlocal.checkpoints.names import Format, torch_file

TRUNK = {
    r"conv1": "stem_conv",
    r"bn1": "stem_norm",
    r"(layer[1-4])\.(\d+)\.conv([1-3])": "{}_{}_conv{}",
    r"(layer[1-4])\.(\d+)\.bn([1-3])": "{}_{}_norm{}",
    r"(layer[1-4])\.(\d+)\.downsample\.0": "{}_{}_shortcut_conv",
    r"(layer[1-4])\.(\d+)\.downsample\.1": "{}_{}_shortcut_norm",
}
FORMAT = Format(read=torch_file("state_dict"), layers=TRUNK | {r"fc": "fc"})
