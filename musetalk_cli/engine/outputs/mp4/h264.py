"""H.264 as MP4 stores it: from Annex B, with start codes, to NAL units behind their lengths (ISO/IEC 14496-15)."""

from __future__ import annotations

import struct

from musetalk_cli.errors import EncoderError

START_CODE = b"\0\0\1"  # ITU-T H.264, B.1.1
SEQUENCE_PARAMETERS, PICTURE_PARAMETERS = 7, 8  # nal_unit_type, ITU-T H.264, table 7-1
# Profiles whose configuration also says the chroma format and the bit depths (ISO/IEC 14496-15, 5.3.3.1.2).
HIGH_PROFILES = (100, 110, 122, 144)
HIGH_8_BIT_420 = bytes([0xFC | 1, 0xF8, 0xF8, 0])  # chroma_format_idc 1, 8 bits twice, no extension of the SPS


def split_nal_units(annex_b: bytes) -> list[bytes]:
    """The NAL units of a stream with start codes; none of them ends in a zero byte (ITU-T H.264, 7.4.1)."""
    return [unit.rstrip(b"\0") for unit in annex_b.split(START_CODE)[1:]]


def to_length_prefixed(annex_b: bytes) -> bytes:
    """An access unit as a sample of an MP4: each NAL unit behind its length in four bytes (14496-15, 5.3.4.2)."""
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in split_nal_units(annex_b))


def build_configuration(extradata: bytes) -> bytes:
    """The AVCDecoderConfigurationRecord (14496-15, 5.3.3.1) from an encoder's parameter sets with start codes.

    8-bit 4:2:0 is taken for granted. Raises EncoderError where a parameter set is missing.
    """
    units = split_nal_units(extradata)
    sequence = [unit for unit in units if unit[0] & 0x1F == SEQUENCE_PARAMETERS]
    pps = [unit for unit in units if unit[0] & 0x1F == PICTURE_PARAMETERS]
    if not sequence or not pps:
        raise EncoderError("the H.264 encoder gave no parameter sets")
    profile = sequence[0][1:4]  # profile, constraints, level
    # lengthSizeMinusOne 3: four bytes for each length.
    parts = [b"\x01", profile, bytes([0xFC | 3, 0xE0 | len(sequence)]), *map(_counted, sequence)]
    parts += [bytes([len(pps)]), *map(_counted, pps)]
    return b"".join(parts) + (HIGH_8_BIT_420 if profile[0] in HIGH_PROFILES else b"")


def _counted(unit: bytes) -> bytes:
    return struct.pack(">H", len(unit)) + unit
