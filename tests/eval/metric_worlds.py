"""Small random videos for the metrics: bands of stuff, moving ellipses, and a prediction that gets them wrong."""

import numpy as np


def drawn_video(rng, *, frames=6, height=24, width=40, categories=7, things=3, objects=4, void=0.1, crowds=1):
    """Ids `[T, H, W]`, and per frame (id, category, iscrowd) in the order of the ids."""
    yy, xx = np.mgrid[0:height, 0:width]
    bands = rng.integers(2, 5)
    kinds = {i: (int(rng.integers(things, categories)), 0) for i in range(1, bands + 1)}
    moving = []
    for i in range(bands + 1, bands + 1 + objects):
        kinds[i] = (int(rng.integers(0, things)), int(i <= bands + crowds))
        moving.append((i, rng.uniform(0, width), rng.uniform(0, height), rng.normal(0, 2), rng.normal(0, 1),
                       rng.uniform(2, width / 6), rng.uniform(2, height / 4)))  # fmt: skip
    edges = np.sort(rng.uniform(0, width, bands - 1))
    hole = rng.random((height // 4 + 1, width // 4 + 1)) < void
    ids = np.zeros((frames, height, width), np.uint16)
    for t in range(frames):
        ids[t] = 1 + np.searchsorted(edges + 0.5 * t, np.arange(width))[None, :]
        for i, x, y, dx, dy, rx, ry in moving:
            ids[t][((xx - x - dx * t) / rx) ** 2 + ((yy - y - dy * t) / ry) ** 2 <= 1] = i
        ids[t][np.kron(hole, np.ones((4, 4), bool))[:height, :width]] = 0
    return ids, [[(int(i), *kinds[int(i)]) for i in np.unique(frame) if i] for frame in ids]


def spoiled_video(rng, ids, lists, *, categories=7, miss=0.1, switch=0.15, flip=0.1, split=0.2):
    """A prediction of it: shifted, with misses, switches, splits and flips of the category of one id."""
    result, tables = np.zeros_like(ids), []
    number, plan = 100, {}
    for t, (frame, rows) in enumerate(zip(ids, lists, strict=True)):
        moved = np.roll(frame, tuple(rng.integers(-1, 2, 2)), (0, 1))
        table = {}
        for i, category, _ in rows:
            mask = moved == i
            if rng.random() < miss or not mask.any():
                continue
            if i not in plan or rng.random() < switch:
                plan[i], number = number, number + 1
            kind = int(rng.integers(0, categories)) if rng.random() < flip else category
            result[t][mask] = plan[i]
            table[plan[i]] = kind
            half = mask & (np.arange(mask.shape[1]) > np.median(np.nonzero(mask)[1]))
            if rng.random() < split and half.any() and (mask & ~half).any():
                result[t][half] = number
                table[number], number = kind, number + 1
        tables.append([(int(i), table[int(i)], 0) for i in np.unique(result[t]) if i])
    return result, tables
