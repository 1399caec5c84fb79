from __future__ import annotations

import pytest

from musetalk_cli.engine.outputs.mp4.h264 import build_configuration, split_nal_units, to_length_prefixed
from musetalk_cli.errors import EncoderError

SPS, PPS = bytes.fromhex("6742c01eda0200"), bytes.fromhex("68ce0fc8")
SPS = SPS.rstrip(b"\0") + b"\x41"


def test_units_behind_long_and_short_start_codes_and_with_zeros_after_them() -> None:
    stream = b"\0\0\0\1" + SPS + b"\0\0\1" + PPS + b"\0\0\0" + b"\0\0\1" + b"\x65\0\0\3\1"
    assert split_nal_units(stream) == [SPS, PPS, b"\x65\0\0\3\1"]
    assert split_nal_units(b"") == []


def test_lengths_take_the_place_of_start_codes() -> None:
    assert to_length_prefixed(b"\0\0\1\x41\x9a\0\0\0\1\x06\x05") == b"\0\0\0\2\x41\x9a\0\0\0\2\x06\x05"


def test_the_configuration_of_a_baseline_stream() -> None:
    found = build_configuration(b"\0\0\0\1" + SPS + b"\0\0\0\1" + PPS)
    head = b"\x01\x42\xc0\x1e\xff\xe1"
    assert found == head + bytes([0, len(SPS)]) + SPS + b"\x01" + bytes([0, len(PPS)]) + PPS


def test_a_high_profile_says_its_chroma_and_depth() -> None:
    high = b"\x67\x64" + SPS[2:]
    baseline, found = (build_configuration(b"\0\0\1" + sps + b"\0\0\1" + PPS) for sps in (SPS, high))
    assert found == baseline.replace(SPS, high).replace(b"\x01\x42", b"\x01\x64", 1) + b"\xfd\xf8\xf8\x00"


@pytest.mark.parametrize("extradata", [b"", b"\0\0\1" + SPS, b"\0\0\1" + PPS])
def test_missing_parameter_sets_are_an_error(extradata: bytes) -> None:
    with pytest.raises(EncoderError, match="no parameter sets"):
        build_configuration(extradata)
