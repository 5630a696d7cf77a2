"""Faces and five landmarks by MTCNN, the detector of EG3D's own preprocessing, with the weights of the package `mtcnn`.

K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks"
(IEEE Signal Processing Letters 2016, arXiv 1604.02878). Three small networks: P-Net slides over a pyramid of the
picture and proposes boxes, R-Net weeds them out, O-Net decides and places the landmarks. The package (MIT) brings the
weights inside its wheel, so that nothing is downloaded; its own code needs TensorFlow and is not imported.

Everything here is NumPy. Every photograph has a pyramid of other shapes: compiling the networks for them would take
longer than running them (0.5 million weights).

Against the original: O-Net's landmarks are averaged over several squares around the face, turned upright, and their
mirror images. They are what the camera is estimated from, and one pass places them to a few percent of the face only.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pmv_jax.errors import InputError
from pmv_jax.faces.alignment import apply, upright_angle

PACKAGE = "mtcnn"
WEIGHTS_SHA256 = {  # of mtcnn 1.0.0. The files are pickles: only these very bytes are ever loaded
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}

WORKING_SIDE = 1280  # pixels; larger photographs are shrunk to this for detection
SMALLEST_FACE = 1 / 32  # of the working picture's longer side
PYRAMID_STEP = 0.709  # halves the area
P_NET_CELL, P_NET_STRIDE = 12, 2
THRESHOLDS = (0.6, 0.7, 0.9)  # of the three networks; the last above the original's 0.8, which takes patterns for faces
MAX_PROPOSALS = 400  # that go on to R-Net, the best first; a crowd has fewer
SQUARES = tuple(
    (right, down, scale, turn)
    for right, down, scale in (
        (0, 0, 0.82),
        (-0.05, 0, 0.9),
        (0.05, 0, 0.9),
        (0, -0.05, 0.9),
        (0, 0.05, 0.9),
        (0, 0, 0.98),
    )
    for turn in (-0.12, 0.0, 0.12)
)
"""Shift right and down and scale, in sides of the face's box, and turn, in radians, of the squares whose landmarks are
averaged. Around scale 0.9 they scatter least, over eight photographs: 0.5 % of the side."""
MIRRORED = (1, 0, 2, 4, 3)  # where each landmark comes from in a mirror image


@dataclass(frozen=True)
class Face:
    """One face in a photograph. Coordinates are continuous: the photograph's corner is (0, 0), its first pixel's centre
    (0.5, 0.5).

    Attributes:
      box: left, top, right, bottom.
      landmarks: [5, 2], x and y of the eye, the other eye, the tip of the nose and the corners of the mouth; always
        the left one in the picture first.
      score: O-Net's, in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float

    @property
    def size(self) -> float:
        """Side of the box, in pixels."""
        return float(np.sqrt((self.box[2] - self.box[0]) * (self.box[3] - self.box[1])))


def is_available() -> bool:
    """Whether the extra `pmv_jax[face]` is installed."""
    try:
        importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def detect(picture: Image.Image, threshold: float = THRESHOLDS[2]) -> list[Face]:
    """All faces of an upright RGB picture, the largest first.

    Args:
      threshold: score that a face must have.

    Raises:
      InputError: the extra `pmv_jax[face]` is not installed, or is another version's.
    """
    networks = _networks()
    scale = min(1.0, WORKING_SIDE / max(picture.size))
    size = tuple(max(1, round(scale * side)) for side in picture.size)
    working = picture if size == picture.size else picture.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    boxes = _proposals(working, networks["pnet"])
    boxes = _reject(working, boxes, networks["rnet"])
    boxes, scores = _decide(working, boxes, networks["onet"], threshold)
    to_photo = np.array(picture.size) / size
    faces = []
    for box, score in zip(boxes, scores, strict=True):
        landmarks = _place_landmarks(working, box, networks["onet"])
        faces.append(Face(tuple((box.reshape(2, 2) * to_photo).ravel().tolist()), landmarks * to_photo, float(score)))
    return sorted(faces, key=lambda face: -face.size)


# ---------------------------------------------------------------------------------------------------------------------
# The cascade. Boxes are [N, 4]: left, top, right, bottom in pixels of the working picture.
# ---------------------------------------------------------------------------------------------------------------------


def _proposals(picture: Image.Image, weights: list[np.ndarray]) -> np.ndarray:
    found, scores = [np.zeros((0, 4))], [np.zeros(0)]
    scale = P_NET_CELL / max(P_NET_CELL, SMALLEST_FACE * max(picture.size))
    while scale * min(picture.size) >= P_NET_CELL:
        size = tuple(int(np.ceil(scale * side)) for side in picture.size)
        pixels = _pixels(picture.resize(size, Image.Resampling.BOX))
        score, offsets = _p_net(pixels[None], weights)
        rows, columns = np.nonzero(score[0] > THRESHOLDS[0])
        corners = P_NET_STRIDE * np.stack([columns, rows], -1)
        cells = np.concatenate([corners, corners + P_NET_CELL], -1) + P_NET_CELL * offsets[0, rows, columns]
        kept = _suppress(cells, score[0, rows, columns], 0.5)
        found.append(cells[kept] * np.tile(np.array(picture.size) / size, 2))
        scores.append(score[0, rows, columns][kept])
        scale *= PYRAMID_STEP
    boxes, score = np.concatenate(found), np.concatenate(scores)
    return _square(boxes[_suppress(boxes, score, 0.7)[:MAX_PROPOSALS]])


def _reject(picture: Image.Image, boxes: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    if not len(boxes):
        return boxes
    score, offsets = _r_net(_patches(picture, boxes, 24), weights)
    passed = score > THRESHOLDS[1]
    boxes = _moved(boxes, offsets)[passed]
    return _square(boxes[_suppress(boxes, score[passed], 0.7)])


def _decide(
    picture: Image.Image, boxes: np.ndarray, weights: list[np.ndarray], threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    if not len(boxes):
        return boxes, np.zeros(0)
    score, offsets, _ = _o_net(_patches(picture, boxes, 48), weights)
    passed = score > threshold
    boxes, score = _moved(boxes, offsets)[passed], score[passed]
    kept = _suppress(boxes, score, 0.7, relative_to_smaller=True)
    return boxes[kept], score[kept]


def _place_landmarks(picture: Image.Image, box: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Landmarks [5, 2] of the face in `box` [4], averaged over squares that are turned upright with the face."""
    centre, side = (box[:2] + box[2:]) / 2, max(box[2:] - box[:2])
    landmarks = _averaged(picture, centre, side, 0.0, ((0.0, 0.0, 0.9, 0.0),), weights)  # to learn how the head tilts
    return _averaged(picture, centre, side, upright_angle(landmarks), SQUARES, weights)


def _averaged(
    picture: Image.Image,
    centre: np.ndarray,
    side: float,
    angle: float,
    squares: tuple[tuple[float, ...], ...],
    weights: list[np.ndarray],
) -> np.ndarray:
    frames = []
    for right, down, scale, turn in squares:
        cos, sin = side * np.cos(angle + turn), side * np.sin(angle + turn)
        axes = np.array([[cos, -sin], [sin, cos]])
        middle = centre + axes @ (right, down)
        frames.append(np.concatenate([scale * axes, (middle - scale * axes @ (0.5, 0.5))[:, None]], axis=1))
    patches = np.stack([_pixels(sample(picture, frame, 48)) for frame in frames])
    _, _, both = _o_net(np.concatenate([patches, patches[:, :, ::-1]]), weights)
    straight, mirrored = np.split(both, 2)
    placed = (straight + (mirrored[:, MIRRORED] * (-1, 1) + (1, 0))) / 2
    return np.mean([apply(frame, points) for frame, points in zip(frames, placed, strict=True)], axis=0)


def sample(picture: Image.Image, frame: np.ndarray, size: int) -> Image.Image:
    """The square that `frame` [2, 3] maps the unit square to, as `size` x `size` pixels; black outside the picture.

    Bilinear from a version of the picture that is shrunk first, so that there is no aliasing.
    """
    step = np.linalg.norm(frame[:, 0]) / size  # pixels of the picture to one of the result
    reach = np.abs(frame[:, :2]).sum(1) + 2 * step
    low = np.floor(np.clip(frame[:, 2] + np.minimum(frame[:, :2], 0).sum(1) - step, 0, picture.size))
    high = np.ceil(np.clip(low + reach + 2 * step, low + 1, np.maximum(picture.size, low + 1)))
    part = picture.crop((*map(int, low), *map(int, high)))
    if step > 1:
        small = tuple(max(1, round(side / step)) for side in part.size)
        shrink = np.array(part.size) / small
        part = part.resize(small, Image.Resampling.BOX)
    else:
        shrink = np.ones(2)
    local = (frame - np.array([[0, 0, low[0]], [0, 0, low[1]]])) / shrink[:, None]
    local[:, :2] /= size
    return part.transform((size, size), Image.Transform.AFFINE, tuple(local.ravel()), Image.Resampling.BILINEAR)


def _patches(picture: Image.Image, boxes: np.ndarray, size: int) -> np.ndarray:
    frames = [[[right - left, 0, left], [0, bottom - top, top]] for left, top, right, bottom in boxes]
    return np.stack([_pixels(sample(picture, np.array(frame), size)) for frame in frames])


def _pixels(picture: Image.Image) -> np.ndarray:
    return (np.asarray(picture, np.float32) - 127.5) / 128


def _moved(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _square(boxes: np.ndarray) -> np.ndarray:
    """Squares around the same centres, with the longer sides."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True, initial=0) / 2
    return np.concatenate([centre - half, centre + half], 1)


def _suppress(boxes: np.ndarray, scores: np.ndarray, limit: float, relative_to_smaller: bool = False) -> np.ndarray:
    """Indices of the boxes to keep, the best first: greedy suppression of what overlaps a better one by more than
    `limit`, as a share of their union or of the smaller one."""
    order, kept = np.argsort(-scores, kind="stable"), []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        common = np.maximum(high - low, 0).prod(1)
        smaller = np.minimum(area[best], area[order])
        whole = smaller if relative_to_smaller else area[best] + area[order] - common
        order = order[common <= limit * whole]
    return np.array(kept, int)


# ---------------------------------------------------------------------------------------------------------------------
# The networks. Pictures are [N, H, W, 3]; weights are lists in the order of the layers, kernels [h, w, in, out].
# ---------------------------------------------------------------------------------------------------------------------


def _p_net(x: np.ndarray, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N, h, w] and box offsets [N, h, w, 4] of all cells."""
    conv1, conv2, conv3, (box, box_bias, score, score_bias) = weights[:3], weights[3:6], weights[6:9], weights[9:]
    x = _pool(_convolve(x, *conv1), 2)
    x = _convolve(_convolve(x, *conv2), *conv3)
    return _probability(x @ score[0, 0] + score_bias), x @ box[0, 0] + box_bias


def _r_net(x: np.ndarray, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """x [N, 24, 24, 3] -> scores [N] and box offsets [N, 4]."""
    x = _pool(_convolve(x, *weights[:3]), 3)
    x = _pool(_convolve(x, *weights[3:6]), 3, ceil=False)
    x = _dense(_convolve(x, *weights[6:9]), *weights[9:12])
    box, box_bias, score, score_bias = weights[12:]
    return _probability(x @ score + score_bias), x @ box + box_bias


def _o_net(x: np.ndarray, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [N, 48, 48, 3] -> scores [N], box offsets [N, 4], landmarks [N, 5, 2] in units of the patch."""
    x = _pool(_convolve(x, *weights[:3]), 3)
    x = _pool(_convolve(x, *weights[3:6]), 3, ceil=False)
    x = _pool(_convolve(x, *weights[6:9]), 2)
    x = _dense(_convolve(x, *weights[9:12]), *weights[12:15])
    box, box_bias, points, points_bias, score, score_bias = weights[15:]
    landmarks = (x @ points + points_bias).reshape(-1, 2, 5).swapaxes(1, 2)
    return _probability(x @ score + score_bias), x @ box + box_bias, landmarks


def _convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Convolution without padding, then PReLU."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))  # [N, H, W, C, h, w]
    return _prelu(np.tensordot(windows, kernel, axes=((4, 5, 3), (0, 1, 2))) + bias, slope)


def _dense(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, slope: np.ndarray) -> np.ndarray:
    # The weights come from a framework that stored pictures column by column.
    return _prelu(x.transpose(0, 2, 1, 3).reshape(len(x), -1) @ kernel + bias, slope)


def _prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + slope.reshape(-1) * np.minimum(x, 0)


def _pool(x: np.ndarray, size: int, ceil: bool = True) -> np.ndarray:
    """Maxima over `size` x `size` with stride 2; with `ceil`, also over what sticks out at the right and bottom."""
    if ceil:
        missing = [(0, max(0, 2 * (-(-side // 2) - 1) + size - side)) for side in x.shape[1:3]]
        x = np.pad(x, ((0, 0), *missing, (0, 0)), constant_values=-np.inf)
    rows, columns = (range(0, side - size + 1, 2) for side in x.shape[1:3])
    parts = [
        x[:, i : i + 2 * len(rows) - 1 : 2, j : j + 2 * len(columns) - 1 : 2] for i in range(size) for j in range(size)
    ]
    return functools.reduce(np.maximum, parts)


def _probability(logits: np.ndarray) -> np.ndarray:
    """Second entry of a softmax over two."""
    return 1 / (1 + np.exp(np.clip(logits[..., 0] - logits[..., 1], -60, 60)))


@functools.cache
def _networks() -> dict[str, list[np.ndarray]]:
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
        import joblib
    except ImportError as error:  # PackageNotFoundError is one, too
        raise InputError(
            "face detection is not installed; pip install 'pmv_jax[face]', or give the landmarks with --landmarks"
        ) from error
    networks = {}
    for name, digest in WEIGHTS_SHA256.items():
        path = distribution.locate_file(f"{PACKAGE}/assets/weights/{name}.lz4")
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); pip install 'pmv_jax[face]' again") from error
        if found != digest:
            raise InputError(f"{path}: other weights than those of {PACKAGE} 1.0.0; pip install '{PACKAGE}==1.0.0'")
        networks[name] = joblib.load(path)
    return networks
