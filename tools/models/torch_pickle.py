"""Reading the weights in a file of torch.save without torch: the format before version 1.6, a row of pickles."""

import pickle
from collections import OrderedDict

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
ELEMENTS = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _Storage:
    def __init__(self, element):
        self.element, self.values = element, None


class _Unpickler(pickle.Unpickler):
    """Knows the few names that a state_dict needs. A pickle may name any function there is, so all others are refused."""

    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # The values follow after the pickles: a tensor is put together once they are read.
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if module == "torch" and name in ELEMENTS:
            return ELEMENTS[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no place among weights")

    def persistent_load(self, identity):
        _, element, key, _, _, _ = identity
        return self.storages.setdefault(key, _Storage(element))


def load(path):
    """The state_dict in the file `path`, as a dict from names to numpy arrays."""
    with open(path, "rb") as file:
        storages = {}
        unpickle = lambda: _Unpickler(file, storages).load()
        if unpickle() != MAGIC:
            raise ValueError(f"{path} is not a file of torch.save before version 1.6")
        unpickle(), unpickle()  # the version of the format, sizes of integers on the machine that wrote it
        tensors, keys = unpickle(), unpickle()
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            element = np.dtype(storages[key].element)
            storages[key].values = np.frombuffer(file.read(count * element.itemsize), element)

    def array(storage, offset, shape, strides):
        size = storage.values.itemsize
        strided = np.lib.stride_tricks.as_strided(storage.values[offset:], shape, [stride * size for stride in strides])
        return strided.copy()

    return {name: array(*tensor) for name, tensor in tensors.items()}
