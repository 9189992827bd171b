"""Renders a small set of pictures in place of photographs, to try ``defq fit`` with:

    python docs/render_photographs.py photographs/
    defq fit photographs/ --size 96 --out build/tools

Three classes, bottle, mug and scissors, on a desk with clutter, each from another side, in another light and with the noise of
a camera: 100 JPEG files of 640 x 480 pixels. They are drawn, not photographed: a network that knows them knows no real mug.
Needs NumPy and OpenCV.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 480
CLASSES = ("bottle", "mug", "scissors")
JPEG_QUALITY = 88


def desk(random: np.random.Generator) -> np.ndarray:
    """An empty desk: a colour that changes over the picture, with grain, float32 (HEIGHT, WIDTH, 3)."""
    corners = random.uniform(60, 200, (1, 1, 3)) + random.uniform(-40, 40, (2, 2, 3))
    plain = cv2.resize(corners.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    grain = random.normal(0, 1, (HEIGHT, WIDTH // 16, 1)).repeat(16, axis=1)
    return plain + 6 * cv2.GaussianBlur(grain.astype(np.float32), (0, 0), 3)[:, :, None] * random.uniform(0, 4)


def clutter(random: np.random.Generator, picture: np.ndarray) -> None:
    """Sheets, pens and blots that say nothing about the class."""
    for _ in range(random.integers(4, 12)):
        colour = tuple(map(float, random.uniform(20, 240, 3)))
        x, y = (int(each) for each in random.uniform((0, 0), (WIDTH, HEIGHT)))
        kind = random.integers(3)
        if kind == 0:
            box = cv2.boxPoints(((x, y), tuple(map(float, random.uniform(20, 130, 2))), float(random.uniform(0, 180))))
            cv2.fillPoly(picture, [box.astype(np.int32)], colour, cv2.LINE_AA)
        elif kind == 1:
            angle, length = random.uniform(0, np.pi), random.uniform(40, 200)
            end = (int(x + length * np.cos(angle)), int(y + length * np.sin(angle)))
            cv2.line(picture, (x, y), end, colour, int(random.integers(3, 12)), cv2.LINE_AA)
        else:
            axes = tuple(int(each) for each in random.uniform(8, 40, 2))
            cv2.ellipse(picture, (x, y), axes, float(random.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)


def object_mask(name: str, random: np.random.Generator) -> np.ndarray:
    """What is covered by an object, uint8 (400, 400), 255 where it is. Its proportions vary."""
    mask: np.ndarray = np.zeros((400, 400), np.uint8)
    stretch = random.uniform(0.85, 1.15)
    if name == "bottle":
        half = int(48 * stretch)
        cv2.rectangle(mask, (200 - half, 150), (200 + half, 370), 255, -1)
        cv2.ellipse(mask, (200, 150), (half, 46), 0, 180, 360, 255, -1)
        cv2.rectangle(mask, (200 - half // 3, 50), (200 + half // 3, 130), 255, -1)
        cv2.rectangle(mask, (200 - half // 2, 32), (200 + half // 2, 54), 255, -1)
    elif name == "mug":
        half = int(82 * stretch)
        cv2.rectangle(mask, (170 - half, 120), (170 + half, 300), 255, -1)
        cv2.ellipse(mask, (170, 300), (half, 26), 0, 0, 180, 255, -1)
        cv2.ellipse(mask, (170, 120), (half, 24), 0, 180, 360, 255, -1)
        cv2.ellipse(mask, (170 + half, 205), (58, 62), 0, -90, 90, 255, 24)
    else:
        spread = int(38 * stretch)
        for side in (-1, 1):
            cv2.line(mask, (200, 210), (200 + side * spread, 30), 255, 20)
            cv2.line(mask, (200, 210), (200 - side * spread, 290), 255, 16)
            cv2.ellipse(mask, (200 - side * (spread + 8), 325), (34, 46), side * 20, 0, 360, 255, 18)
    return mask


def photograph(name: str, random: np.random.Generator) -> np.ndarray:
    """One picture of a class, uint8 (HEIGHT, WIDTH, 3) in OpenCV's order of colours."""
    picture = desk(random)
    clutter(random, picture)
    size, angle = random.uniform(0.65, 1.05), random.uniform(-40, 40) + (180 if random.random() < 0.15 else 0)
    matrix = cv2.getRotationMatrix2D((200, 200), angle, size)
    matrix[:, 2] += (WIDTH / 2 - 200 + random.uniform(-70, 70), HEIGHT / 2 - 200 + random.uniform(-45, 45))
    mask = (
        cv2.warpAffine(object_mask(name, random), matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA).astype(np.float32)
        / 255
    )
    shadow = cv2.GaussianBlur(np.roll(mask, (12, 16), (0, 1)), (0, 0), 9)[:, :, None]
    picture *= 1 - 0.5 * shadow
    light = np.linspace(*random.uniform(0.55, 1.45, 2), WIDTH, dtype=np.float32)[None, :, None]
    colour = random.uniform(25, 235, (1, 1, 3)).astype(np.float32) * light
    edge = cv2.GaussianBlur(mask, (0, 0), 5)[:, :, None]
    picture = picture * (1 - mask[:, :, None]) + colour * (0.6 + 0.4 * edge) * mask[:, :, None]
    if random.random() < 0.3:  # something lies across it
        start, end = ((int(x), int(y)) for x, y in random.uniform((0, 0), (WIDTH, HEIGHT), (2, 2)))
        cv2.line(
            picture, start, end, tuple(map(float, random.uniform(20, 240, 3))), int(random.integers(4, 14)), cv2.LINE_AA
        )
    picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.6, 1.6)) * random.uniform(0.6, 1.2)
    return np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def render(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``count`` pictures, of each class as many, into one folder for each class."""
    random = np.random.default_rng(seed)
    for index in range(count):
        name = CLASSES[index % len(CLASSES)]
        file = folder / name / f"{index:04}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), photograph(name, random), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def main() -> None:
    parser = argparse.ArgumentParser(description="Render pictures of three classes of things on a desk.")
    parser.add_argument("folder", type=Path, help="gets one folder for each class")
    parser.add_argument("--count", type=int, default=100, help="pictures (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    render(arguments.folder, arguments.count, arguments.seed)
    print(f"wrote {arguments.count} pictures of {', '.join(CLASSES)} to {arguments.folder}")


if __name__ == "__main__":
    main()
