"""Rewrites a SavedModel into one that is faster on a CPU: constants for variables, convolutions that fuse.

python -m savedmodels.freeze --savedmodel=DIR --output=DIR

TensorFlow fuses a convolution of constants with the bias, sum and ReLU behind it, but not across the reshapes
by which `keras_nonlocal.FrameWise` folds frames into the batch, nor across the casts of a batch norm in
bfloat16. Here a Conv2D of frames becomes the Conv3D of the clip with a kernel of one frame, and the norm's
scale is multiplied into the kernel, in the norm's dtype. The outputs are the same up to rounding.

A SavedModel is a program: loading one runs what is in it. Freeze only those that you trust.
"""

import argparse
import os
import shutil
import sys

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from savedmodels.loading import check_files, check_fingerprint, one_line, serving_path
from savedmodels.whole_directory import whole_directory

_SIGNATURE = "serving_default"
_REMEDY = "python -m savedmodels.export, which writes it anew"


def freeze(directory, output):
    """Writes the frozen form of a SavedModel.

    Loading a SavedModel runs what is in it, with your rights: freeze only those that you trust.

    Args:
        directory: A SavedModel with the signature `serving_default`, as `savedmodels.export` or
            `keras.Model.export` writes it. Convolutions of frames are rewritten where the number of frames
            and the sides are known; others stay as they are.
        output: Directory to write, with the same signature and serving.json. It appears whole, or not at all.

    Returns:
        How many convolutions were rewritten.

    Raises:
        FileNotFoundError: `directory` is no SavedModel.
        FileExistsError: `output` exists already.
        ValueError: The SavedModel is damaged, or has no signature `serving_default` of one graph.
    """
    if not tf.saved_model.contains_saved_model(directory):
        raise FileNotFoundError(
            f"Expected the directory of a SavedModel. Received {directory!r}. "
            "Try: python -m savedmodels.export --workdir=RUN, which writes RUN/savedmodel/1."
        )
    with whole_directory(output) as partial:
        check_files(directory)
        with one_line(directory, "a sound SavedModel", _REMEDY):
            check_fingerprint(directory)
            loaded = tf.saved_model.load(directory)
            signatures = loaded.signatures
        if _SIGNATURE not in signatures:
            raise ValueError(
                f"Expected a signature {_SIGNATURE!r}. Received {sorted(signatures)} in "
                f"{directory!r}. Try: python -m savedmodels.export, which writes it."
            )
        with one_line(directory, "a SavedModel whose variables can become constants", _REMEDY):
            frozen, count = _frozen(signatures[_SIGNATURE])
        # The blocks' custom gradients refer to the graph that this one was made from, and are left out.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(tf.Module(), partial, signatures={_SIGNATURE: frozen}, options=options)
        if os.path.isfile(serving_path(directory)):
            os.makedirs(os.path.dirname(serving_path(partial)))
            shutil.copyfile(serving_path(directory), serving_path(partial))
        return count


def _frozen(signature):
    """Returns a signature with constants for variables, and how many convolutions were rewritten."""
    constant = convert_variables_to_constants_v2(signature)
    kinds = {op.type for op in constant.graph.get_operations() for y in op.outputs if y.dtype == tf.resource}
    if kinds:  # such as tables, which would be written without what is in them
        raise ValueError(f"state besides its variables: {', '.join(sorted(kinds))}")
    with constant.graph.as_default():
        replacements = _replacements(constant.graph)
    graph_def = constant.graph.as_graph_def()
    for node in graph_def.node:
        if node.name in replacements:
            _pass_on(node, replacements[node.name])
    names = sorted(signature.structured_outputs)
    outputs = {name: tensor.name for name, tensor in zip(names, constant.outputs, strict=True)}
    return _function(graph_def, [tensor.name for tensor in constant.inputs], outputs), len(replacements)


def _replacements(graph):
    """Adds the convolutions that fuse to a graph, and returns {operation's name: tensor for its output}."""
    convolutions = [operation for operation in graph.get_operations() if operation.type == "Conv2D"]
    pairs = filter(None, map(_replacement, convolutions))
    return {last.name: tensor for last, tensor in pairs}


def _replacement(conv):
    """Returns the last operation that one convolution can replace, and the new output; or None."""
    padding, layout = (conv.get_attr(name).decode() for name in ("padding", "data_format"))
    if padding == "EXPLICIT" or layout != "NHWC" or set(conv.get_attr("dilations")) != {1}:
        return None
    x, kernel = conv.inputs
    last, convolve, strides = conv, tf.nn.conv2d, conv.get_attr("strides")
    unfold = _only_reader(conv, "Reshape")
    if unfold and _is_frame_wise(x.op, conv, unfold):
        x, last, convolve, strides = x.op.inputs[0], unfold, tf.nn.conv3d, (1, *strides)
    norm = _norm_after(last, kernel.shape[-1:])
    if last is conv and norm is None:
        return None
    if norm:
        scale, offset, last = norm
        weights = kernel.op.inputs[0] if kernel.op.type == "Cast" else kernel  # before rounding
        kernel = tf.cast(tf.cast(weights, scale.dtype) * scale, kernel.dtype)
    if convolve is tf.nn.conv3d:
        kernel = kernel[None]  # [1, h, w, in, out]
    y = convolve(x, kernel, strides, padding)
    return last, y + tf.cast(offset, y.dtype) if norm else y


def _is_frame_wise(fold, conv, unfold):
    """Returns whether a dense convolution is between [B, T, H, W, C] -> [B*T, H, W, C] and its inverse."""
    if fold.type != "Reshape" or conv.inputs[1].shape[2] != conv.inputs[0].shape[-1]:
        return False
    before, after = fold.inputs[0].shape, unfold.outputs[0].shape
    if before.rank != 5 or after.rank != 5 or None in (*before[1:], *after[1:]):
        return False
    folded = conv.inputs[0].shape[1:], conv.outputs[0].shape[1:]
    return (before[2:], after[2:], before[1]) == (*folded, after[1])


def _norm_after(operation, channels):
    """Returns the scale, offset and last operation of x * scale + offset, which may be between casts."""
    cast = _only_reader(operation, "Cast")
    product = _only_reader(cast or operation, "Mul")
    total = product and _only_reader(product, "AddV2")
    last = _only_reader(total, "Cast") if total and cast else total
    if last is None:
        return None
    scale = _other_input(product, cast or operation)
    offset = _other_input(total, product)
    same_dtype = last.outputs[0].dtype == operation.outputs[0].dtype
    return (scale, offset, last) if same_dtype and scale.shape == offset.shape == channels else None


def _only_reader(operation, kind):
    readers = operation.outputs[0].consumers()
    return readers[0] if len(readers) == 1 and readers[0].type == kind else None


def _other_input(operation, known):
    left, right = operation.inputs
    return right if left.op is known else left


def _pass_on(node, tensor):
    """Turns a node of a graph into the identity of a tensor."""
    node.op = "Identity"
    node.input[:] = [tensor.name]
    node.attr.clear()
    node.attr["T"].type = tensor.dtype.as_datatype_enum


def _function(graph_def, inputs, outputs):
    """Returns a graph as a function, without the nodes that no output needs."""
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    tensor = imported.graph.get_tensor_by_name
    return imported.prune(
        [tensor(name) for name in inputs], {key: tensor(name) for key, name in outputs.items()}
    )


def main(arguments=None):
    """Parses the command line and freezes."""
    description = " ".join([__doc__.splitlines()[0], __doc__.splitlines()[-1]])
    parser = argparse.ArgumentParser(prog="python -m savedmodels.freeze", description=description)
    parser.add_argument("--savedmodel", required=True, help="directory of the SavedModel to read")
    parser.add_argument("--output", required=True, help="directory of the SavedModel to write")
    options = parser.parse_args(arguments)
    try:
        count = freeze(options.savedmodel, options.output)
    except (OSError, ValueError) as error:
        sys.exit("error: " + " ".join(str(error).split()))
    print(f"wrote {options.output}; convolutions rewritten: {count}")


if __name__ == "__main__":
    main()
