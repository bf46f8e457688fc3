"""Small models in exactly the files, names and shapes of ones that are too large or not to be had here: CLIP, GTE for Chinese, ResNet50."""

import json

import numpy as np
import onnx
from onnx import TensorProto
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

import bert
from graph import Graph, float32, int64

# OpenAI's preparation of pictures for CLIP, and that of ImageNet.
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def write_json(path, value):
    """Writes `value` as JSON, with the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def clip(folder):
    """A pair of towers in the layout of openai/clip-vit-base-patch32 as exported for ONNX: 512 numbers for a text or a picture.

    What it knows is colours: a text is the sum of its words red, green and blue, a picture the mean of its pixels, and the same
    rotation takes both into the space they share. So what is near to what can be told beforehand.
    """
    ends = ["<|startoftext|>", "<|endoftext|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("r", "e"), ("re", "d</w>"), ("g", "re"), ("gre", "e"), ("gree", "n</w>"), ("b", "l"), ("bl", "u"), ("blu", "e</w>")]
    words = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges] + ends
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=ends[1], continuing_subword_prefix="", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pieces = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    start, end = ((word, vocabulary[word]) for word in ends)
    tokenizer.post_processor = processors.RobertaProcessing(end, start, add_prefix_space=False, trim_offsets=False)
    tokenizer.add_special_tokens(ends)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"model_max_length": 77, "pad_token": ends[1], "tokenizer_class": "CLIPTokenizer"})
    write_json(
        folder / "config.json",
        {"model_type": "clip", "projection_dim": 512, "text_config": {"max_position_embeddings": 77}, "vision_config": {"image_size": 224}},
    )
    preparation = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 224},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "do_convert_rgb": True,
    }
    write_json(folder / "preprocessor_config.json", preparation)

    meanings = np.zeros((len(words), 3))
    for axis, word in enumerate(["red</w>", "green</w>", "blue</w>"]):
        meanings[vocabulary[word], axis] = 1.0
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(512, 3)))[0].T

    text = Graph("text_model")
    ids = text.input("input_ids", TensorProto.INT64, ["text_batch_size", "sequence_length"])
    seen = text.add("Gather", float32(meanings), ids, axis=0)
    text.output(text.add("MatMul", text.add("ReduceSum", seen, int64(1), keepdims=0), float32(rotation)), "text_embeds", ["text_batch_size", 512])
    text.output(seen, "last_hidden_state", ["text_batch_size", "sequence_length", 3])
    text.save(folder / "onnx" / "text_model.onnx")

    vision = Graph("vision_model")
    pixels = vision.input("pixel_values", TensorProto.FLOAT, ["image_batch_size", 3, 224, 224])
    mean = vision.add("Reshape", vision.add("GlobalAveragePool", pixels), int64(0, -1))
    mean = vision.add("Add", vision.add("Mul", mean, float32(CLIP_STD)), float32(CLIP_MEAN))
    vision.output(vision.add("MatMul", mean, float32(rotation)), "image_embeds", ["image_batch_size", 512])
    vision.save(folder / "onnx" / "vision_model.onnx")


def gte_chinese(folder, texts):
    """A model in the layout of thenlper/gte-base-zh, with one thin layer of random weights and a vocabulary that covers `texts`.

    Gives the weights and the config, for the reference.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted({letter for text in texts for letter in text.lower() if not letter.isspace()})
    pieces = letters + ["##" + letter for letter in letters if letter.isascii()]
    vocabulary = {piece: number for number, piece in enumerate(special + pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(special)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "hidden_size": 768,
        "intermediate_size": 64,
        "num_attention_heads": 12,
        "num_hidden_layers": 1,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": len(vocabulary),
    }
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer_config.json", {"model_max_length": 512, "pad_token": "[PAD]", "tokenizer_class": "BertTokenizer"})
    modules = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    write_json(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{module}"}
            for number, (module, path) in enumerate(zip(modules, paths))
        ],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False})
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": 768,
            "pooling_mode_cls_token": True,
            "pooling_mode_mean_tokens": False,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    weights = bert.random_weights(config, seed=2)
    bert.export(weights, config, folder / "onnx" / "model.onnx")
    return weights, config


def resnet50(folder):
    """A model in the layout of microsoft/resnet-50 exported without its classifier: a random convolution to 2,048 maps of 7 by 7."""
    write_json(
        folder / "preprocessor_config.json",
        {
            "crop_pct": 0.875,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "ConvNextFeatureExtractor",
            "image_mean": IMAGENET_MEAN,
            "image_std": IMAGENET_STD,
            "resample": 3,
            "size": 224,
        },
    )
    write_json(folder / "config.json", {"model_type": "resnet", "architectures": ["ResNetModel"], "hidden_sizes": [256, 512, 1024, 2048]})
    graph = Graph("resnet-50")
    pixels = graph.input("pixel_values", TensorProto.FLOAT, ["batch_size", 3, 224, 224])
    kernel = np.random.default_rng(3).normal(0.0, 0.2, (2048, 3, 4, 4))
    maps = graph.add("Relu", graph.add("Conv", pixels, float32(kernel), strides=[32, 32]))
    graph.output(maps, "last_hidden_state", ["batch_size", 2048, 7, 7])
    graph.output(graph.add("GlobalAveragePool", maps), "pooler_output", ["batch_size", 2048, 1, 1])
    graph.save(folder / "model.onnx")


def unfit(folder):
    """Networks for pictures that cannot be used as they are, or lie in more than one file; each with a lodedb.json."""
    description = {"image": {"model": "model.onnx", "resize": {"shorter_side": 8}, "crop": {"width": 8, "height": 8}}}

    def network(name):
        write_json(folder / name / "lodedb.json", description)
        graph = Graph(name)
        return graph, graph.input("pixel_values", TensorProto.FLOAT, ["batch_size", 3, 8, 8])

    # As many numbers as there are pixels that are not black: nobody can tell before.
    graph, pixels = network("no-fixed-dims")
    bright = graph.add("Transpose", graph.add("NonZero", graph.add("ReduceSum", pixels, int64(1), keepdims=0)))
    flat = graph.add("Reshape", graph.add("Cast", bright, to=TensorProto.FLOAT), int64(1, -1))
    graph.output(flat, "features", [1, "found"])
    graph.save(folder / "no-fixed-dims" / "model.onnx")

    graph, pixels = network("not-finite")
    mean = graph.add("Reshape", graph.add("GlobalAveragePool", pixels), int64(0, 3))
    graph.output(graph.add("Log", graph.add("Sub", mean, float32(0.5))), "features", ["batch_size", 3])
    graph.save(folder / "not-finite" / "model.onnx")

    # Weights in a file of their own, as exports of more than 2 GB have them.
    graph, pixels = network("two-files")
    kernel = float32(np.random.default_rng(4).normal(size=(16, 3, 8, 8)))
    graph.output(graph.add("Reshape", graph.add("Conv", pixels, kernel), int64(0, 16)), "features", ["batch_size", 16])
    path = folder / "two-files" / "model.onnx"
    graph.save(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx_data", size_threshold=1024)
    # The same, reaching out of its directory for them.
    write_json(folder / "reaching-out" / "lodedb.json", description)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../two-files/model.onnx_data"
    (folder / "reaching-out" / "model.onnx").write_bytes(model.SerializeToString())
