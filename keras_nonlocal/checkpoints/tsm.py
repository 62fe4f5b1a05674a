"""TSM and TSM with non-local blocks: mit-han-lab/temporal-shift-module.

A convolution behind a shift is called `net`; a residual block that a non-local one follows is called
`block`. The classifier is `new_fc`, or `fc` of the trunk where the model has no dropout.
"""

from keras_nonlocal.checkpoints.names import Format, torch_file

TRUNK = {
    r"base_model\.conv1": "stem_conv",
    r"base_model\.bn1": "stem_norm",
    r"base_model\.(layer[1-4])\.(\d+)\.(?:block\.)?conv([1-3])(?:\.net)?": "{}_{}_conv{}",
    r"base_model\.(layer[1-4])\.(\d+)\.(?:block\.)?bn([1-3])": "{}_{}_norm{}",
    r"base_model\.(layer[1-4])\.(\d+)\.(?:block\.)?downsample\.0": "{}_{}_shortcut_conv",
    r"base_model\.(layer[1-4])\.(\d+)\.(?:block\.)?downsample\.1": "{}_{}_shortcut_norm",
    r"new_fc|base_model\.fc": "fc",
}
FORMAT = Format(
    read=torch_file("state_dict"),
    layers=TRUNK
    | {
        r"base_model\.(layer[1-4])\.(\d+)\.nl\.(theta|phi|g)(?:\.0)?": "{}_{}_block/{}",
        r"base_model\.(layer[1-4])\.(\d+)\.nl\.W\.0": "{}_{}_block/out",
        r"base_model\.(layer[1-4])\.(\d+)\.nl\.W\.1": "{}_{}_block/norm",
    },
)
