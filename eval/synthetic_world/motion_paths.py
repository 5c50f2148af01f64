"""How the camera and the things move: smooth paths that know when something leaves, comes back or meets another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.synthetic_world.levels import Level

Point = NDArray[np.float64]
"""float64 `[2]`: y and x in pixels."""


@dataclass(frozen=True, slots=True)
class Waves:
    """A slow random oscillation about 0: a sum of sines, so that it can be asked for at any time."""

    amplitudes: tuple[float, ...]
    frequencies: tuple[float, ...]
    """In radians per frame."""
    phases: tuple[float, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, amplitude: float, period: tuple[float, float], count: int = 2) -> "Waves":
        """`count` sines that together swing by at most about `amplitude`, with periods in frames from `period`."""
        shares = rng.uniform(0.5, 1.0, count)
        return cls(
            amplitudes=tuple(amplitude * shares / shares.sum()),
            frequencies=tuple(2 * np.pi / rng.uniform(*period, count)),
            phases=tuple(rng.uniform(0, 2 * np.pi, count)),
        )

    def at(self, time: float) -> float:
        return float(
            sum(a * sin(f * time + p) for a, f, p in zip(self.amplitudes, self.frequencies, self.phases, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera looks at any time; world coordinates are pixels of the frame at zoom 1 about its centre."""

    height: int
    width: int
    drift: tuple[float, float]
    """Pan in pixels per frame, downwards and to the right."""
    turn: float
    """Frames after which the pan turns round."""
    sway: tuple[Waves, Waves]
    zoom: Waves
    roll: Waves
    """In degrees."""

    @classmethod
    def draw(cls, rng: np.random.Generator, level: Level, *, height: int, width: int) -> "Camera":
        unit = height / 256
        angle = rng.choice([0.0, np.pi]) + rng.normal(0, 0.25)
        speed = rng.uniform(0.6, 1.0) * level.pan * unit
        # The world is as wide as the camera goes, so it turns before it has seen two widths.
        turn = max(24.0, 0.7 * width / speed) if speed > 0 else 1e9
        shake = level.shake * unit
        return cls(
            height=height,
            width=width,
            drift=(float(0.4 * speed * np.sin(angle)), float(speed * np.cos(angle))),
            turn=turn,
            sway=(Waves.draw(rng, shake, (4, 12), 3), Waves.draw(rng, shake, (4, 12), 3)),
            zoom=Waves.draw(rng, level.zoom, (70, 160)),
            roll=Waves.draw(rng, level.roll, (40, 120)),
        )

    def view(self, time: float) -> tuple[Point, float, float]:
        """Centre in the world, zoom, and clockwise roll in radians at a time in frames."""
        return _view(self, time)

    def to_frame(self, point: Point, time: float) -> Point:
        """World to frame coordinates."""
        centre, zoom, roll = self.view(time)
        dy, dx = point - centre
        cosine, sine = np.cos(roll), np.sin(roll)
        y, x = cosine * dy + sine * dx, cosine * dx - sine * dy
        return np.array([y * zoom + self.height / 2, x * zoom + self.width / 2])

    def to_world(self, point: Point, time: float) -> Point:
        """Frame to world coordinates."""
        centre, zoom, roll = self.view(time)
        y, x = (point[0] - self.height / 2) / zoom, (point[1] - self.width / 2) / zoom
        cosine, sine = np.cos(roll), np.sin(roll)
        return np.asarray(centre + np.array([cosine * y - sine * x, cosine * x + sine * y]))

    def extent(self, frames: int) -> tuple[float, float, float, float]:
        """Top, left, bottom, right of a part of the world that holds all that is seen in frames 0 .. `frames` - 1."""
        zoom_out = float(np.exp(sum(self.zoom.amplitudes)))
        roll = float(np.deg2rad(sum(self.roll.amplitudes)))
        reach_y = (self.height * np.cos(roll) + self.width * np.sin(roll)) / 2 * zoom_out + sum(self.sway[0].amplitudes)
        reach_x = (self.width + self.height * np.sin(roll)) / 2 * zoom_out + sum(self.sway[1].amplitudes)
        travelled = min(float(frames), self.turn)
        ends_y, ends_x = sorted((0.0, self.drift[0] * travelled)), sorted((0.0, self.drift[1] * travelled))
        return ends_y[0] - reach_y, ends_x[0] - reach_x, ends_y[1] + reach_y, ends_x[1] + reach_x


@lru_cache(maxsize=1024)
def _view(camera: Camera, time: float) -> tuple[Point, float, float]:
    """Every thing of a frame asks for it, so it is kept."""
    phase = time % (2 * camera.turn)
    travelled = phase if phase <= camera.turn else 2 * camera.turn - phase
    centre = np.array([d * travelled + s.at(time) for d, s in zip(camera.drift, camera.sway, strict=True)])
    return centre, float(np.exp(camera.zoom.at(time))), float(np.deg2rad(camera.roll.at(time)))


class Path:
    """A smooth path through the world."""

    def __init__(self, times: list[float], points: list[Point]) -> None:
        from scipy.interpolate import PchipInterpolator

        self._curve: Any = PchipInterpolator(np.asarray(times), np.asarray(points), axis=0)
        self._first, self._last = times[0], times[-1]

    def at(self, time: float) -> Point:
        """World coordinates at a time in frames; before the first and after the last knot it stands still."""
        return np.asarray(self._curve(float(np.clip(time, self._first, self._last))))


def plan_path(
    rng: np.random.Generator,
    level: Level,
    camera: Camera,
    *,
    frames: int,
    span: int,
    reach: float,
    leaves: bool,
    meets: Path | None,
    others: Sequence[Point] = (),
) -> Path:
    """Plans how one thing moves.

    Args:
        rng: where all chance comes from.
        level: how fast.
        camera: what "in view" means.
        frames: length of the scene.
        span: frames within which it leaves and meets the first time; later in a long scene it leaves again and again.
        reach: half the size of the thing in pixels, so that it can leave wholly.
        leaves: whether it goes out of view, and mostly comes back.
        meets: a path that it crosses once, in front of the other or behind it.
        others: where other things begin, in frame coordinates; it begins away from them.
    """
    unit = camera.height / 256
    speed = level.speed * unit * rng.uniform(0.4, 1.0)
    leave_at = rng.uniform(0.05, 0.4) * span if leaves else np.inf
    meet_at = rng.uniform(0.25, 0.75) * span if meets is not None else np.inf
    candidates = [_inside(rng, camera, reach) for _ in range(6)]
    if leaves:
        # What leaves begins on one side, or a slow thing would never reach the edge.
        for candidate in candidates:
            near = min(0.7 * reach, camera.width / 2) + rng.uniform(0.0, 0.15) * camera.width
            candidate[1] = near if candidate[1] < camera.width / 2 else camera.width - near
    room = [min((float(np.hypot(*(c - o))) for o in others), default=np.inf) for c in candidates]
    time, point = 0.0, camera.to_world(candidates[int(np.argmax(room))], 0.0)
    away = None
    if meets is not None:
        # Begin so near that the meeting is reached at a natural speed.
        speed = max(speed, 0.5 * level.speed * unit)
        distance = min(speed * meet_at, 0.4 * camera.width)
        here = meets.at(meet_at)
        side = 1.0 if camera.to_frame(here, meet_at)[1] < camera.width / 2 else -1.0
        away = np.array([rng.uniform(-0.4, 0.4), side])
        point = here + distance * away
    times, points = [time], [point]
    while time < frames:
        duration = rng.uniform(16, 36)
        if meets is not None and time < meet_at:
            time, point = meet_at, meets.at(meet_at)
        elif away is not None and time >= meet_at:
            # On to the other side, so that the meeting is short.
            point, away = point - speed * duration * away, None
            time += duration
        elif time >= leave_at:
            start = camera.to_frame(point, time)
            left = bool(start[1] < camera.width / 2)
            beyond = -1.3 * reach if left else camera.width + 1.3 * reach
            duration = _hurry(abs(beyond - start[1]), speed, span, level, unit)
            out = np.array([start[0] + rng.normal(0, 8 * unit), beyond])
            time, point = time + duration, camera.to_world(out, time + duration)
            times.append(time)
            points.append(point)
            pause = rng.uniform(4, 12)
            time, point = time + pause, camera.to_world(out, time + pause)
            times.append(time)
            points.append(point)
            # Not far from where it left, so that it is soon wholly in view.
            inside = reach + rng.uniform(0.0, 0.25) * camera.width
            back = np.array([_inside(rng, camera, reach)[0], inside if left else camera.width - inside])
            duration = _hurry(float(np.hypot(*(back - out))), speed, span, level, unit)
            time, point = time + duration, camera.to_world(back, time + duration)
            leave_at = time + rng.uniform(0.4, 0.9) * span
        else:
            aim = _inside(rng, camera, reach)
            if time < leave_at < np.inf:
                duration = min(duration, leave_at - time)
            goal = camera.to_world(aim, time + duration)
            step = goal - point
            length = float(np.hypot(*step))
            point = point + step * min(1.0, speed * duration / max(length, 1e-6))
            time += duration
        times.append(time)
        points.append(point)
    return Path(times, points)


def _hurry(distance: float, speed: float, span: int, level: Level, unit: float) -> float:
    """Frames for a way that should be over in a quarter of the scene, at three times the level's speed at most."""
    return max(4.0, distance / (3.0 * level.speed * unit), min(distance / speed, 0.25 * span))


def _inside(rng: np.random.Generator, camera: Camera, reach: float) -> Point:
    low, high = min(0.7 * reach, camera.height / 2), min(0.7 * reach, camera.width / 2)
    return np.array([rng.uniform(low, camera.height - low), rng.uniform(high, camera.width - high)])
