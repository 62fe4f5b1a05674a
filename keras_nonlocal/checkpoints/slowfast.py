"""PySlowFast's C2D and I3D, with and without non-local blocks: .pyth. Its Caffe2 files have FAIR's names."""

from keras_nonlocal.checkpoints.names import Format, torch_file

FORMAT = Format(
    read=torch_file("model_state"),
    words={"a": "1", "b": "2", "c": "3"},
    layers={
        r"s1\.pathway0_stem\.conv": "stem_conv",
        r"s1\.pathway0_stem\.bn": "stem_norm",
        r"s([2-5])\.pathway0_res(\d+)\.branch1": "res{}_{}_shortcut_conv",
        r"s([2-5])\.pathway0_res(\d+)\.branch1_bn": "res{}_{}_shortcut_norm",
        r"s([2-5])\.pathway0_res(\d+)\.branch2\.([abc])": "res{}_{}_conv{}",
        r"s([2-5])\.pathway0_res(\d+)\.branch2\.([abc])_bn": "res{}_{}_norm{}",
        r"s([2-5])\.pathway0_nonlocal(\d+)\.conv_(theta|phi|g|out)": "res{}_{}_block/{}",
        r"s([2-5])\.pathway0_nonlocal(\d+)\.bn": "res{}_{}_block/norm",
        r"head\.projection": "fc",
    },
)
