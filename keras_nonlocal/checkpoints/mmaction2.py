"""mmaction2's C2D, I3D and TSM, each with and without non-local blocks."""

from keras_nonlocal.checkpoints.names import Format, torch_file

FORMAT = Format(
    read=torch_file("state_dict"),
    layers={
        r"backbone\.conv1\.conv": "stem_conv",
        r"backbone\.conv1\.bn": "stem_norm",
        r"backbone\.(layer[1-4])\.(\d+)\.(?:block\.)?conv([1-3])\.conv(?:\.net)?": "{}_{}_conv{}",
        r"backbone\.(layer[1-4])\.(\d+)\.(?:block\.)?conv([1-3])\.bn": "{}_{}_norm{}",
        r"backbone\.(layer[1-4])\.(\d+)\.(?:block\.)?downsample\.conv": "{}_{}_shortcut_conv",
        r"backbone\.(layer[1-4])\.(\d+)\.(?:block\.)?downsample\.bn": "{}_{}_shortcut_norm",
        r"backbone\.(layer[1-4])\.(\d+)\.non_local_block\.(theta|phi|g)(?:\.0)?\.conv": "{}_{}_block/{}",
        r"backbone\.(layer[1-4])\.(\d+)\.non_local_block\.conv_out\.conv": "{}_{}_block/out",
        r"backbone\.(layer[1-4])\.(\d+)\.non_local_block\.conv_out\.bn": "{}_{}_block/norm",
        r"cls_head\.fc_cls": "fc",
    },
)
