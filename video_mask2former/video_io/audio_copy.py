"""Sound of one file copied beside the pictures of another, packet by packet, without decoding it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from video_mask2former.video_io.container import open_container

logger = logging.getLogger(__name__)


class AudioCopy:
    """Copies the audio streams of ``source`` into an output container as its video grows.

    Args:
        source: File to take the sound of; one without sound is fine.
        output: Container being written, before its first packet.
        start_seconds: Time in the source, from its first frame, that becomes time 0.

    Raises:
        ValueError: If the container cannot hold the codec of the sound.
    """

    def __init__(
        self, source: str | os.PathLike[str], output: av.container.OutputContainer, start_seconds: float = 0.0
    ) -> None:
        self._output = output
        self._input = open_container(Path(source))
        streams = [stream for stream in self._input.streams.audio if stream.codec_context is not None]
        for stream in streams:
            codec = stream.codec_context.name
            # a decoder can have another name than its codec: mp3float reads mp3
            if not output.supported_codecs & {codec, stream.codec_context.codec.canonical_name}:
                self._input.close()
                raise ValueError(
                    f"the sound of {source} ({codec}) cannot be copied into a {output.format.name} file. "
                    "Write .mkv, which holds most codecs, or leave the sound out."
                )
        self._targets = {stream.index: output.add_stream_from_template(stream) for stream in streams}
        self._offset = Fraction(start_seconds) + _start_of_video(self._input)
        self._packets = self._shifted_packets() if streams else iter(())
        self._waiting = next(self._packets, None)
        if not streams:
            logger.info("%s has no sound to copy", source)

    def copy_until(self, seconds: float | Fraction) -> None:
        """Write the packets that start before ``seconds`` of the output."""
        while self._waiting is not None:
            time, packet = self._waiting
            if time >= seconds:
                return
            self._output.mux(packet)
            self._waiting = next(self._packets, None)

    def close(self) -> None:
        """Close the source."""
        self._packets = iter(())
        self._input.close()

    def _shifted_packets(self) -> Iterator[tuple[Fraction, av.Packet]]:
        """Packets with their time in the output; those from before its start are left out."""
        streams = [self._input.streams[index] for index in self._targets]
        for packet in self._input.demux(streams):
            if not packet.size or packet.dts is None:
                continue
            shift = round(self._offset / packet.time_base)
            pts = (packet.dts if packet.pts is None else packet.pts) - shift
            if pts < 0:
                continue
            packet.dts = min(packet.dts - shift, pts)
            packet.pts = pts
            packet.stream = self._targets[packet.stream.index]
            yield pts * packet.time_base, packet


def _start_of_video(container: av.container.InputContainer) -> Fraction:
    """When the first frame is shown, in seconds; 0 for a file of sound alone."""
    stream = container.streams.best("video")
    if stream is None or stream.start_time is None:
        return Fraction(0)
    return stream.start_time * stream.time_base
