"""Writing ONNX graphs by hand: names are given out, weights become initializers."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# The newest set of operators that ONNX Runtime 1.17 knows and that is enough here.
OPSET = 17
# What it asks for; files of a later one are refused by older runtimes.
IR_VERSION = 8


class Graph:
    """A graph under construction. Tensors are their names."""

    def __init__(self, name):
        self.name = name
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []

    def input(self, name, element, shape):
        """Declares an input; `shape` holds numbers and the names of dimensions that vary."""
        self.inputs.append(helper.make_tensor_value_info(name, element, shape))
        return name

    def output(self, tensor, name, shape):
        """Declares `tensor` to be the output `name`, of float32."""
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def constant(self, array):
        """A weight: a numpy array of float32 or int64."""
        name = f"weight_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def add(self, operator, *inputs, **attributes):
        """Appends a node with one output and gives its name. Arrays among the inputs become weights."""
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def save(self, path):
        """Checks the graph and writes it to `path`."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)


def float32(array):
    """`array` as float32."""
    return np.asarray(array, dtype=np.float32)


def int64(*values):
    """A one-dimensional array of int64."""
    return np.array(values, dtype=np.int64)
