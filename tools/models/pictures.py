"""Pictures of every kind that a client may send, and what Pillow makes of them for a model."""

import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

BICUBIC = Image.Resampling.BICUBIC


def scene(width, height, seed):
    """A picture with slow changes, edges and grain, as photographs have them."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y = random.integers(0, width), random.integers(0, height)
        radius = int(random.integers(min(width, height) // 20 + 1, min(width, height) // 4 + 2))
        colour = tuple(int(part) for part in random.integers(0, 256, 3))
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape([x - radius, y - radius, x + radius, y + radius], fill=colour)
    grain = random.normal(0.0, 6.0, (height, width, 3))
    grained = np.clip(np.asarray(picture.filter(ImageFilter.GaussianBlur(0.8)), dtype=np.float64) + grain, 0, 255)
    return Image.fromarray(grained.astype(np.uint8))


def sixteen_bit_png(path, samples):
    """Writes `samples`, height by width by 3 of uint16, as PNG. Pillow cannot."""
    height, width, _ = samples.shape

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_all(folder):
    """Writes the pictures. Gives for each its name and the RGB picture that a viewer would show."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = {}

    def keep(name, picture=None, **options):
        if picture is not None:
            picture.save(folder / name, **options)
        opened = Image.open(folder / name)
        seen[name] = ImageOps.exif_transpose(opened).convert("RGB")

    photo = scene(640, 427, 1)
    keep("photo.jpg", photo, quality=90)
    keep("full-colour.jpg", photo, quality=95, subsampling=0)
    keep("progressive.jpg", scene(500, 700, 2), quality=85, progressive=True)
    keep("grey.jpg", scene(400, 400, 3).convert("L"), quality=90)
    keep("cmyk.jpg", scene(420, 320, 4).convert("CMYK"), quality=95)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        keep(f"orientation-{orientation}.jpg", scene(360, 240, 5), quality=92, exif=exif)
    keep("rgb.png", photo)
    transparent = scene(300, 300, 6)
    transparent.putalpha(Image.linear_gradient("L").resize((300, 300)))
    keep("rgba.png", transparent)
    keep("palette.png", scene(320, 200, 7).quantize(64))
    keep("grey-alpha.png", transparent.convert("LA"))
    keep("one-bit.png", scene(256, 256, 8).convert("1"))
    keep("photo.bmp", scene(333, 251, 9))
    keep("lossy.webp", photo, quality=90)
    keep("lossless.webp", scene(200, 300, 10), lossless=True)
    keep("tall.png", scene(60, 1000, 11))
    keep("one-pixel.png", Image.new("RGB", (1, 1), (10, 200, 30)))
    frames = [scene(240, 180, 12 + number).quantize(128) for number in range(3)]
    keep("animated.gif", frames[0], save_all=True, append_images=frames[1:], duration=100)
    colour_frames = [scene(240, 180, 15 + number) for number in range(3)]
    keep("animated.png", colour_frames[0], save_all=True, append_images=colour_frames[1:], duration=100)
    keep("animated.webp", colour_frames[0], save_all=True, append_images=colour_frames[1:], duration=100, lossless=True)
    for colour, value in {"red": (230, 20, 15), "green": (20, 200, 25), "blue": (15, 25, 220)}.items():
        keep(f"{colour}.png", Image.new("RGB", (300, 200), value))

    # Pillow cuts 16 bits off instead of scaling them, so what is seen is computed here.
    deep = (np.asarray(scene(310, 230, 20), dtype=np.uint16) * 257) ^ 0x55
    sixteen_bit_png(folder / "rgb16.png", deep)
    seen["rgb16.png"] = Image.fromarray(np.round(deep / 257.0).astype(np.uint8))
    grey = deep[:, :, 1]
    Image.fromarray(grey).save(folder / "grey16.png")
    seen["grey16.png"] = Image.fromarray(np.round(grey / 257.0).astype(np.uint8)).convert("RGB")
    return seen


def prepare(picture, shortest, crop, mean, std):
    """An RGB picture as a model is given it, 1 by 3 by `crop` by `crop`: the shorter side made `shortest`, the middle cut out."""
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    longer = int(shortest * long / short)
    picture = picture.resize((shortest, longer) if width <= height else (longer, shortest), BICUBIC)
    left, top = (picture.width - crop) // 2, (picture.height - crop) // 2
    picture = picture.crop((left, top, left + crop, top + crop))
    values = (np.asarray(picture, dtype=np.float64) / 255.0 - mean) / std
    return values.transpose(2, 0, 1)[None].astype(np.float32)
