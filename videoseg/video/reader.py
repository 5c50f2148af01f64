"""`FrameReader`: the shown frames of one video file, decoded in order from any frame on.

Verified against the file's index: every decoded picture is matched to a shown frame by its time stamp, so a seek that
lands elsewhere, a picture that comes out of order and a picture that never comes are all noticed.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from videoseg.video.codec_vectors import ask_for_vectors
from videoseg.video.index import NO_STAMP, FileIndex, plain, read_packets

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# After a seek the demultiplexer can need some packets until one has a stamp that only it has.
_PACKETS_TO_RECOGNISE = 64

NO_PICTURE = "its packets decode to no picture"
"""The reason of a loss without an error."""


class LossRecord:
    """What could not be decoded, frame by frame; asking for a frame twice does not count it twice."""

    def __init__(self) -> None:
        self.missing: dict[int, str] = {}
        """Shown frame -> reason, for frames that never came."""
        self.damaged: dict[int, str] = {}
        """Shown frame -> reason, for frames that came with patches made up by the decoder."""


class FrameReader:
    """Decodes one stream of one file. Not for several threads at once.

    Decodes in one thread: with more, FFmpeg 8 gives other pixels for damaged files (measured: 134 of 1,799 frames
    differ with frame threads, 276 with slice threads, and slice threads flag none of them as damaged), and results must
    not depend on the number of cores.
    """

    def __init__(
        self, path: str, stream: int, index: FileIndex, losses: LossRecord, *, codec_vectors: bool = False
    ) -> None:
        self._path = path
        self._codec_vectors = codec_vectors
        self._stream_index = stream
        self._index = index
        self._losses = losses
        self._reorder = index.reorder
        self._open()

    def _open(self) -> None:
        import av

        self._container = av.open(file_url(self._path))
        self._stream: VideoStream = self._container.streams[self._stream_index]  # type: ignore[assignment]
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1
        if self._codec_vectors:
            ask_for_vectors(self._stream.codec_context)
        self._restarted(packet=0, queue=[])

    def _restarted(self, packet: int, queue: "list[Packet[VideoStream]]") -> None:
        self._queue = deque(queue)
        """Packets read and not yet decoded."""
        self._packets: Iterator[Packet[VideoStream]] = read_packets(self._container, self._stream, [])
        self._next_packet = packet
        """Number of the packet that the decoder gets next."""
        self._position = self._index.first_shown_from(packet)
        """The shown frame that `read` gives next."""
        self._arriving = self._position
        """The shown frame that the decoder should give next; before `_position` while it runs up to a frame."""
        self._waiting: dict[int, VideoFrame] = {}
        """Decoded pictures by number."""
        self._ended = False
        self._error = ""
        # Packets from the last one that did not decode to the next keyframe: their pictures may build on it.
        self._suspect = (0, 0)

    def close(self) -> None:
        self._waiting = {}
        self._container.close()

    def seek(self, number: int) -> None:
        """Makes the shown frame `number` the next one that `read` gives, decoding no more than needed."""
        if number == self._position:
            return
        index = self._index
        key = index.keyframe_for(number)
        if not index.timed:
            # Frames without stamps are known by counting alone.
            if number < self._position:
                self._restart(0)
            while self._position < number and self.read() is not None:
                pass
            return
        if self._position <= number and key <= self._next_packet:
            self._position_at(number)
            return
        while True:
            self._restart(key)
            self._position_at(number)
            # The verification: a keyframe from which decoding does not reach the frame is no place to start.
            while not self._ended and not self._waiting and not self._error:
                self._feed()
            if number in self._waiting or self._error or key == 0:
                return
            key = index.keyframe_before(key)

    def read(self) -> "tuple[int, VideoFrame] | None":
        """The next shown frame with its number; numbers skip frames that are lost. None at the end."""
        while True:
            frame = self._waiting.pop(self._position, None)
            if frame is not None:
                self._position += 1
                return self._position - 1, frame
            if self._waiting and (self._ended or len(self._waiting) > self._reorder):
                self._lose(min(self._waiting))
            elif self._ended:
                self._lose(len(self._index))
                return None
            else:
                self._feed()

    def read_if(self, number: int) -> "VideoFrame | None":
        """The shown frame `number`, which `seek` has made the next one; None where it is lost."""
        if self.peek() is None or self._position != number:
            return None
        self._position += 1
        return self._waiting.pop(number)

    def peek(self) -> "VideoFrame | None":
        """The next picture that `read` gives, left in its place."""
        item = self.read()
        if item is None:
            return None
        self._position, picture = item
        self._waiting[self._position] = picture
        return picture

    def _lose(self, until: int) -> None:
        for number in range(self._position, until):
            self._losses.missing.setdefault(number, self._error or NO_PICTURE)
        self._position = until
        self._error = ""

    def _position_at(self, number: int) -> None:
        self._position = number
        for early in [n for n in self._waiting if n < number]:
            del self._waiting[early]

    def _feed(self) -> None:
        """Gives the decoder one more packet and keeps what comes out."""
        import av

        packet = self._queue.popleft() if self._queue else next(self._packets, None)
        try:
            if packet is None:
                self._ended = True
                pictures = self._stream.codec_context.decode(None)
            else:
                self._next_packet += 1
                pictures = self._stream.codec_context.decode(packet)
        except (av.FFmpegError, EOFError) as error:
            self._error = plain(error)
            self._suspect = (self._next_packet, self._index.next_keyframe(self._next_packet - 1))
            return
        for picture in pictures:
            number = self._index.locate(picture.pts, self._arriving)
            if number is None:
                continue
            self._arriving = number + 1
            if number < self._position or number in self._waiting:
                continue
            origin = int(self._index.shown[number])
            if picture.is_corrupt:
                self._losses.damaged[number] = "the decoder filled in damaged parts of it"
            elif self._index.timed and self._suspect[0] <= origin < self._suspect[1]:
                self._losses.damaged.setdefault(number, "it may build on a frame that is lost")
            self._waiting[number] = picture

    def _restart(self, key: int) -> None:
        """Makes packet `key` the next one to decode, with nothing left in the decoder."""
        import av

        index = self._index
        if key > 0 and index.seekable:
            landing = key
            # Containers seek by their own tables, in which stamps can be presentation or decoding times, rounded or
            # not. One keyframe earlier is always good enough, since packets up to `key` are skipped undecoded.
            for _ in range(3):
                stamp = int(index.packet_dts[landing])
                stamp = int(index.packet_pts[landing]) if stamp == NO_STAMP else stamp
                try:
                    if self._land(stamp, key):
                        return
                except (av.FFmpegError, EOFError):
                    pass
                landing = index.keyframe_before(landing)
        self._container.close()
        self._open()
        self._skip_to(key)

    def _land(self, stamp: int, key: int) -> bool:
        self._container.seek(stamp, stream=self._stream)
        held: list[Packet[VideoStream]] = []
        for packet in read_packets(self._container, self._stream, []):
            held.append(packet)
            number = self._index.packet_with(packet.pts)
            if number is not None:
                first = number - (len(held) - 1)
                if not 0 <= first <= key:
                    return False
                self._restarted(first, held)
                self._skip_to(key)
                return True
            if len(held) == _PACKETS_TO_RECOGNISE:
                break
        return False

    def _skip_to(self, key: int) -> None:
        while self._next_packet < key:
            if self._queue:
                self._queue.popleft()
            elif next(self._packets, None) is None:
                break
            self._next_packet += 1
        self._position = self._arriving = self._index.first_shown_from(key)


def file_url(path: str) -> str:
    """A path as FFmpeg takes it without reading a protocol or an image pattern into it."""
    return f"file:{path}"
