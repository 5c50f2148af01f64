"""`FileIndex`: every packet of a video stream, read without decoding, and the order in which its frames are shown.

Knows time stamps, keyframes and edit lists; knows nothing of pixels. Built by one pass of the demultiplexer (0.4 s for
an hour of MP4, as long as reading the file for containers without a table of their own, such as MPEG-TS).
"""

from array import array
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

NO_STAMP = int(np.iinfo(np.int64).min)
"""Stands for an absent time stamp."""

# A damaged region can fail many reads in a row; after this many without one packet the rest counts as unreadable.
_READ_ATTEMPTS = 64

# Decoding order runs back by less than this in a sound file; a larger step is a clock that started anew
# (recordings joined end to end).
_CLOCK_RESTART_SECONDS = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class FileIndex:
    """Packets in decoding order, shown frames in presentation order, and the way from one to the other."""

    time_base: Fraction
    """Seconds per unit of every stamp."""
    packet_pts: NDArray[np.int64]
    """int64 `[P]` in decoding order, `NO_STAMP` where absent."""
    packet_dts: NDArray[np.int64]
    """int64 `[P]`, `NO_STAMP` where absent."""
    keyframes: NDArray[np.intp]
    """Packet numbers of the keyframes, ascending."""
    shown: NDArray[np.intp]
    """`[F]`: the packet of each shown frame, in presentation order. Without time stamps: in decoding order, and only
    its length means something."""
    pts: NDArray[np.int64]
    """int64 `[F]`: presentation stamps of the shown frames, ascending; made up where the file has none."""
    timed: bool
    """Every packet carries a presentation stamp."""
    clocks: NDArray[np.intp]
    """Packet numbers at which the clock starts anew; empty for sound files."""
    hidden: int
    """Packets that an edit list takes out of the presentation."""
    frame_duration: Fraction
    """Seconds that the last shown frame lasts."""
    read_errors: tuple[str, ...] = ()
    """What the demultiplexer could not read."""
    by_pts: NDArray[np.intp] = field(repr=False, default_factory=lambda: np.zeros(0, dtype=np.intp))
    """Packet numbers in ascending order of stamp, for `packet_with`."""

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def seekable(self) -> bool:
        """Whether a time stamp names one place in the file, so that the container can seek to it."""
        return self.timed and len(self.clocks) == 0

    @property
    def times(self) -> NDArray[np.float64]:
        """float64 `[F]`: `Frame.time` of every shown frame, in seconds."""
        return self.pts.astype(np.float64) * self.time_base.numerator / self.time_base.denominator

    def time(self, number: int) -> float:
        """`Frame.time` of one shown frame, in seconds."""
        return int(self.pts[number]) * self.time_base.numerator / self.time_base.denominator

    @property
    def reorder(self) -> int:
        """How many frames a frame can come out of the decoder too early, at most."""
        if not self.timed or len(self) == 0:
            return 0
        rank = np.argsort(np.argsort(self.shown))
        return int(np.abs(rank - np.arange(len(rank))).max())

    @property
    def open_groups(self) -> bool:
        """Whether frames that come after a keyframe in the file are shown before it (and may need the group before)."""
        if not self.seekable:
            return False
        keys = self.keyframes[self.packet_pts[self.keyframes] != NO_STAMP]
        following = keys[keys + 1 < len(self.packet_pts)]
        return bool(np.any(self.packet_pts[following + 1] < self.packet_pts[following]))

    def keyframe_for(self, number: int) -> int:
        """The last packet from which decoding gives the shown frame `number`: a keyframe that is not shown after it.

        Returns packet 0 where nothing better is known.
        """
        if not self.timed:
            return 0
        packet = int(self.shown[number])
        clock = int(np.searchsorted(self.clocks, packet, side="right"))
        clock_start = int(self.clocks[clock - 1]) if clock else 0
        for at in range(int(np.searchsorted(self.keyframes, packet, side="right")) - 1, -1, -1):
            key = int(self.keyframes[at])
            # Leading frames of an open group come after the keyframe in the file and before it on screen.
            if key < clock_start or self.packet_pts[key] <= self.packet_pts[packet]:
                return key
        return 0

    def keyframe_before(self, packet: int) -> int:
        """The keyframe before the given packet, 0 where there is none."""
        at = int(np.searchsorted(self.keyframes, packet, side="left")) - 1
        return int(self.keyframes[at]) if at >= 0 else 0

    def next_keyframe(self, packet: int) -> int:
        """The first keyframe after the given packet, the number of packets where there is none."""
        at = int(np.searchsorted(self.keyframes, packet, side="right"))
        return int(self.keyframes[at]) if at < len(self.keyframes) else len(self.packet_pts)

    def first_shown_from(self, packet: int) -> int:
        """The first shown frame that decoding from this (key) packet gives."""
        if packet == 0 or not self.timed:
            return 0
        itself = np.flatnonzero(self.shown == packet)
        if len(itself):
            return int(itself[0])
        if len(self.clocks):
            later = np.flatnonzero(self.shown > packet)
            return int(later[0]) if len(later) else len(self)
        return int(np.searchsorted(self.pts, self.packet_pts[packet], side="left"))

    def packet_with(self, pts: int | None) -> int | None:
        """The number of the one packet that carries this stamp; None where it is not one."""
        if pts is None:
            return None
        stamps = self.packet_pts
        low = int(np.searchsorted(stamps, pts, side="left", sorter=self.by_pts))
        if low == len(stamps) or stamps[self.by_pts[low]] != pts:
            return None
        if low + 1 < len(stamps) and stamps[self.by_pts[low + 1]] == pts:
            return None
        return int(self.by_pts[low])

    def locate(self, pts: int | None, expected: int) -> int | None:
        """The shown frame that a decoded picture with this stamp is.

        Args:
            pts: stamp of the decoded picture as the container states it.
            expected: the shown frame that should come out next; decides between frames with the same stamp, and is
                the answer where the file has no stamps.

        Returns:
            Number of the shown frame; None where no shown frame has the stamp.
        """
        if not self.timed:
            return expected if expected < len(self) else None
        if pts is None:
            return None
        if expected < len(self) and self.packet_pts[self.shown[expected]] == pts:
            return expected
        if len(self.clocks) == 0:
            low = int(np.searchsorted(self.pts, pts, side="left"))
            if low == len(self) or self.pts[low] != pts:
                return None
            later = max(low, expected)
            return later if later < len(self) and self.pts[later] == pts else low
        same = np.flatnonzero(self.packet_pts[self.shown] == pts)
        return int(same[np.argmin(np.abs(same - expected))]) if len(same) else None

    def without_first(self, count: int) -> "FileIndex":
        """The same file with its first shown frames taken out of the presentation."""
        return replace(self, shown=self.shown[count:], pts=self.pts[count:])


def read_packets(
    container: "InputContainer", stream: "VideoStream", errors: list[str]
) -> "Iterator[Packet[VideoStream]]":
    """The stream's packets that hold something, in decoding order, from where the container stands to its end.

    A read error is appended to `errors` and reading goes on behind it; both passes over a file (index and decoding)
    use this function, so they number packets alike.
    """
    import av

    failures = 0
    while failures < _READ_ATTEMPTS:
        try:
            for packet in container.demux(stream):
                if packet.size:
                    failures = 0
                    yield packet
            return
        except (av.FFmpegError, EOFError) as error:
            if failures == 0:
                errors.append(plain(error))
            failures += 1


def plain(error: BaseException) -> str:
    """An FFmpeg error as a clause: without its number and the name of the call."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().rstrip(".").lower()


def build_index(container: "InputContainer", stream: "VideoStream") -> FileIndex:
    """Reads all packets of a freshly opened container once."""
    pts, dts, durations, keys, shows = array("q"), array("q"), array("q"), array("b"), array("b")
    errors: list[str] = []
    is_vp8 = stream.codec_context.name in ("vp8", "libvpx")
    for packet in read_packets(container, stream, errors):
        pts.append(NO_STAMP if packet.pts is None else packet.pts)
        dts.append(NO_STAMP if packet.dts is None else packet.dts)
        durations.append(packet.duration or 0)
        keys.append(packet.is_keyframe)
        # VP8's alternative reference frames are packets of their own that are never shown: bit 4 of the frame tag
        # (RFC 6386, section 9.1).
        invisible = is_vp8 and not bytes(packet)[0] & 0x10
        shows.append(not (packet.is_discard or invisible))
    packet_pts, packet_dts = np.array(pts, dtype=np.int64), np.array(dts, dtype=np.int64)
    visible = np.flatnonzero(np.array(shows, dtype=np.int8))
    time_base = Fraction(stream.time_base or Fraction(1, 1000))
    # AVI stores no presentation stamps; where frames are reordered, what FFmpeg gives are decoding stamps.
    decoding_stamps = container.format.name == "avi" and stream.codec_context.has_b_frames
    timed = bool(np.all(packet_pts[visible] != NO_STAMP)) and not decoding_stamps
    clocks = _clock_restarts(packet_pts, packet_dts, time_base) if timed else np.zeros(0, dtype=np.intp)
    last_duration = Fraction(0)
    if timed:
        shown, shown_pts = _presentation_order(packet_pts, visible, clocks)
        if len(shown):
            last_duration = durations[int(shown[-1])] * time_base
    else:
        shown, shown_pts = visible, _made_up_stamps(packet_dts[visible], stream, time_base)
    if not last_duration:
        last_duration = _typical_gap(shown_pts, time_base) or Fraction(1) / (stream.average_rate or Fraction(25))
    return FileIndex(
        time_base=time_base,
        packet_pts=packet_pts,
        packet_dts=packet_dts,
        keyframes=np.flatnonzero(np.array(keys, dtype=np.int8)),
        shown=shown,
        pts=shown_pts,
        timed=timed,
        clocks=clocks,
        hidden=len(packet_pts) - len(visible),
        frame_duration=last_duration,
        read_errors=tuple(errors),
        by_pts=np.argsort(packet_pts, kind="stable"),
    )


def _clock_restarts(pts: NDArray[np.int64], dts: NDArray[np.int64], time_base: Fraction) -> NDArray[np.intp]:
    order = np.where(dts == NO_STAMP, pts, dts)
    order = order[order != NO_STAMP] if bool(np.any(order == NO_STAMP)) else order
    back = np.diff(order) * float(time_base)
    restarts: NDArray[np.intp] = np.flatnonzero(back < -_CLOCK_RESTART_SECONDS) + 1
    return restarts


def _presentation_order(
    pts: NDArray[np.int64], visible: NDArray[np.intp], clocks: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    clock = np.searchsorted(clocks, visible, side="right")
    shown = visible[np.lexsort((visible, pts[visible], clock))]
    stamps = pts[shown]
    clock = np.searchsorted(clocks, shown, side="right")
    # Where the clock started anew, time goes on as if the recordings had been joined properly.
    for number in range(1, len(clocks) + 1):
        here = np.flatnonzero(clock == number)
        if len(here) and here[0] > 0:
            gap = int(np.median(np.diff(stamps[here]))) if len(here) > 1 else 1
            stamps[here] += stamps[here[0] - 1] + gap - stamps[here[0]]
    return shown, stamps


def _made_up_stamps(dts: NDArray[np.int64], stream: "VideoStream", time_base: Fraction) -> NDArray[np.int64]:
    if len(dts) and bool(np.all(dts != NO_STAMP)):
        # Frames leave the decoder at the pace at which they enter, only in another order.
        return np.sort(dts)
    step = 1 / (Fraction(stream.average_rate or 25) * time_base)
    return np.array([round(number * step) for number in range(len(dts))], dtype=np.int64)


def _typical_gap(pts: NDArray[np.int64], time_base: Fraction) -> Fraction | None:
    return int(np.median(np.diff(pts))) * time_base if len(pts) > 1 else None
