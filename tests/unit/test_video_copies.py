"""Tracks that no encoder here makes: films of discs and broadcasts, with their sound and pictures of text."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.unit.films import assert_same_times, facts, make_film
from video.clip import make_clip


def bits(*fields: tuple[int, int]) -> bytes:
    """Values with their widths, one after the other."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def noise(number: int, size: int) -> bytes:
    return bytes((number * 7 + at * 13) % 251 for at in range(size))


def dts(number: int, size: int = 1006) -> bytes:
    """A frame of DTS as far as its header (ETSI TS 102 114, 5.3): 512 samples at 48 kHz, two channels."""
    header = bits(
        (0x7FFE8001, 32), (1, 1), (31, 5), (0, 1), (15, 7), (size - 1, 14), (2, 6), (13, 4), (15, 5), (0, 10), (0, 3),
        (7, 4), (0, 9),
    )  # fmt: skip
    return header + noise(number, size - len(header))


def truehd(number: int, size: int = 400) -> bytes:
    """A unit of TrueHD as far as its headers: 40 samples at 48 kHz, two channels."""
    sync = bits((0xF8726FBA, 32), (0, 12), (1, 5), (0, 2), (1, 13), (0xB752, 16), (0, 32), (0x9000, 16), (1, 4))
    sync += bytes(26 - len(sync))
    checksum = 0
    for byte in sync[:24]:
        checksum ^= byte << 8
        for _ in range(8):
            checksum = (checksum << 1 ^ 0x2D) & 0xFFFF if checksum & 0x8000 else checksum << 1
    sync += struct.pack(">H", checksum)
    unit = bytearray(struct.pack(">HH", size // 2, 40 * number % 2**16) + sync + noise(number, size - 4 - 28))
    parity = unit[0] & 15 ^ unit[1] ^ unit[2] ^ unit[3]
    unit[0] |= ((parity >> 4 ^ parity) & 15 ^ 15) << 4
    return bytes(unit)


def with_track(target: Path, codec: str, packets: Sequence[bytes], ticks: int) -> None:
    """A Matroska film with one more track of ready packets, each of so many 48,000ths of a second."""
    plain = target.with_name("plain.mkv")
    make_clip(plain, frames=30, size=(32, 32), audio=[])
    with av.open(str(plain)) as film, av.open(str(target), "w") as out:
        picture = out.add_stream_from_template(film.streams.video[0])
        track = out.add_mux_stream(codec, rate=48_000 if "sub" not in codec else None)
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = picture
                out.mux(packet)
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = track, Fraction(1, 48_000)
            packet.pts = packet.dts = number * ticks
            packet.duration = ticks
            out.mux(packet)


@pytest.mark.parametrize(
    ("codec", "packets", "ticks"),
    [
        ("dts", [dts(number) for number in range(100)], 512),
        ("truehd", [truehd(number) for number in range(1000)], 40),
    ],
    ids=["DTS", "TrueHD"],
)
def test_sound_of_discs_is_copied(tmp_path: Path, codec: str, packets: list[bytes], ticks: int) -> None:
    source = tmp_path / "film.mkv"
    with_track(source, codec, packets, ticks)
    with av.open(str(source)) as film:
        assert film.streams.audio[0].rate == 48_000
    _plan, out = make_film(source)
    before, after = facts(source), facts(out)
    assert after.sound == before.sound == [packets]
    assert after.sound_times == before.sound_times
    assert_same_times(before, after)


@pytest.mark.parametrize("codec", ["dvd_subtitle", "dvb_subtitle", "hdmv_pgs_subtitle"])
def test_texts_that_are_pictures_are_copied(tmp_path: Path, codec: str) -> None:
    source = tmp_path / "film.mkv"
    # As a Blu-ray has it: a part of 100 bytes, and the mark of the end.
    parts = [b"\x16\0\x64" + noise(number, 100) + b"\x80\0\0" for number in range(3)]
    with_track(source, codec, parts, 16_000)
    plan, out = make_film(source)
    before, after = facts(source), facts(out)
    assert [track.codec for track in plan.source.tracks] == [codec]
    assert before.texts == [parts]
    assert after.texts == before.texts


def test_attached_fonts_are_kept(tmp_path: Path) -> None:
    plain, source = tmp_path / "plain.mkv", tmp_path / "film.mkv"
    make_clip(plain, frames=3, size=(32, 32), audio=[])
    font = noise(1, 500)
    with av.open(str(plain)) as film, av.open(str(source), "w") as out:
        picture = out.add_stream_from_template(film.streams.video[0])
        out.add_attachment("letters.ttf", "application/x-truetype-font", font)
        for packet in film.demux():
            if packet.size:
                packet.stream = picture
                out.mux(packet)
    _plan, out_path = make_film(source)
    with av.open(str(out_path)) as film:
        (attached,) = film.streams.attachments
        assert (attached.name, attached.mimetype, bytes(attached.data)) == (
            "letters.ttf",
            "application/x-truetype-font",
            font,
        )
