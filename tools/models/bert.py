"""BERT (Devlin et al., 2018) twice: as an ONNX graph, and computed in float64 to check it against."""

import numpy as np
from onnx import TensorProto

from graph import Graph, float32, int64


def export(weights, config, path):
    """Writes the encoder as ONNX, with the inputs and the output that exports of transformers have.

    `weights` are named as in the checkpoints of transformers; `config` is the model's config.json.
    """
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    size, epsilon = hidden // heads, config["layer_norm_eps"]
    graph = Graph("bert")
    ids, mask, types = (
        graph.input(name, TensorProto.INT64, ["batch_size", "sequence_length"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    )

    def linear(x, name):
        product = graph.add("MatMul", x, float32(weights[f"{name}.weight"]).T)
        return graph.add("Add", product, float32(weights[f"{name}.bias"]))

    def normalised(x, name):
        scale, bias = float32(weights[f"{name}.weight"]), float32(weights[f"{name}.bias"])
        return graph.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)

    def split(x, order):
        parted = graph.add("Reshape", x, int64(0, 0, heads, size))
        return graph.add("Transpose", parted, perm=order)

    length = graph.add("Gather", graph.add("Shape", ids), int64(1), axis=0)
    positions = graph.add("Slice", float32(weights["embeddings.position_embeddings.weight"]), int64(0), length, int64(0))
    words = graph.add("Gather", float32(weights["embeddings.word_embeddings.weight"]), ids, axis=0)
    kinds = graph.add("Gather", float32(weights["embeddings.token_type_embeddings.weight"]), types, axis=0)
    x = graph.add("Add", graph.add("Add", words, kinds), positions)
    x = normalised(x, "embeddings.LayerNorm")

    seen = graph.add("Cast", graph.add("Unsqueeze", mask, int64(1, 2)), to=TensorProto.FLOAT)
    hidden_places = graph.add("Mul", graph.add("Sub", float32(1.0), seen), float32(np.finfo(np.float32).min))
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        query = split(linear(x, f"{name}.attention.self.query"), [0, 2, 1, 3])
        key = split(linear(x, f"{name}.attention.self.key"), [0, 2, 3, 1])
        value = split(linear(x, f"{name}.attention.self.value"), [0, 2, 1, 3])
        scores = graph.add("Div", graph.add("MatMul", query, key), float32(np.sqrt(size)))
        share = graph.add("Softmax", graph.add("Add", scores, hidden_places), axis=-1)
        context = graph.add("Transpose", graph.add("MatMul", share, value), perm=[0, 2, 1, 3])
        context = graph.add("Reshape", context, int64(0, 0, hidden))
        attended = linear(context, f"{name}.attention.output.dense")
        x = normalised(graph.add("Add", attended, x), f"{name}.attention.output.LayerNorm")
        wide = linear(x, f"{name}.intermediate.dense")
        # GELU by its definition, with the error function.
        erf = graph.add("Erf", graph.add("Div", wide, float32(np.sqrt(2.0))))
        gelu = graph.add("Mul", graph.add("Mul", wide, graph.add("Add", erf, float32(1.0))), float32(0.5))
        x = normalised(graph.add("Add", linear(gelu, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")
    graph.output(x, "last_hidden_state", ["batch_size", "sequence_length", hidden])
    graph.save(path)


def encode(weights, config, ids):
    """The last hidden state of one text in float64, `len(ids)` by hidden size: no padding, no mask, no graph."""
    from math import erf

    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    elementwise_erf = np.vectorize(erf, otypes=[np.float64])
    double = lambda name: np.asarray(weights[name], dtype=np.float64)

    def linear(x, name):
        return x @ double(f"{name}.weight").T + double(f"{name}.bias")

    def normalised(x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
        return scaled * double(f"{name}.weight") + double(f"{name}.bias")

    x = double("embeddings.word_embeddings.weight")[ids]
    x = x + double("embeddings.position_embeddings.weight")[: len(ids)] + double("embeddings.token_type_embeddings.weight")[0]
    x = normalised(x, "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, f"{name}.attention.self.{part}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        share = np.exp(scores - scores.max(axis=-1, keepdims=True))
        share /= share.sum(axis=-1, keepdims=True)
        context = (share @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        x = normalised(linear(context, f"{name}.attention.output.dense") + x, f"{name}.attention.output.LayerNorm")
        wide = linear(x, f"{name}.intermediate.dense")
        gelu = wide * 0.5 * (1.0 + elementwise_erf(wide / np.sqrt(2.0)))
        x = normalised(linear(gelu, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    return x


def random_weights(config, seed):
    """Weights of the shapes that `config` asks for, drawn as transformers draws them before training."""
    random = np.random.default_rng(seed)
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    weights = {}

    def matrix(name, rows, columns):
        weights[f"{name}.weight"] = random.normal(0.0, 0.02, (rows, columns))

    def linear(name, outputs, inputs):
        matrix(name, outputs, inputs)
        weights[f"{name}.bias"] = random.normal(0.0, 0.02, outputs)

    def norm(name):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = np.ones(hidden), np.zeros(hidden)

    matrix("embeddings.word_embeddings", config["vocab_size"], hidden)
    matrix("embeddings.position_embeddings", config["max_position_embeddings"], hidden)
    matrix("embeddings.token_type_embeddings", config["type_vocab_size"], hidden)
    norm("embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            linear(f"{name}.attention.self.{part}", hidden, hidden)
        linear(f"{name}.attention.output.dense", hidden, hidden)
        norm(f"{name}.attention.output.LayerNorm")
        linear(f"{name}.intermediate.dense", wide, hidden)
        linear(f"{name}.output.dense", hidden, wide)
        norm(f"{name}.output.LayerNorm")
    return weights
