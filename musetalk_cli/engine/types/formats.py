"""Which formats ffmpeg may take a file or a pipe for: containers that hold their media themselves.

A playlist under the name of a video would have ffmpeg open whatever other files it names.
"""

from __future__ import annotations

from collections.abc import Sequence

_CONTAINERS = "asf,avi,dv,flv,gxf,ivf,live_flv,m4v,matroska,mov,mpeg,mpegts,mxf,nsv,nut,ogg,rm,smk,swf,vc1,wtv"
_AUDIO = (
    "aa,aac,ac3,act,adx,aiff,amr,amrnb,amrwb,apc,ape,aptx,ast,au,avr,bit,caf,codec2,daud,dsf,dss,dts,dtshd,eac3,flac,"
    "g722,g723_1,g726,g726le,g729,gsm,iff,ilbc,ircam,iss,loas,mlp,mmf,mp3,mpc,mpc8,nistsphere,oma,paf,pvf,qcp,rso,sbc,"
    "sds,sdx,sln,sox,spdif,tak,truehd,tta,voc,vpk,vqf,w64,wav,wsd,wv,xa,xwma"
)
_VIDEO = (
    "apng,av1,avs2,avs3,bink,cavsvideo,dirac,dnxhd,evc,film_cpk,filmstrip,flic,gif,h261,h263,h264,hevc,jpegxl_anim,"
    "mjpeg,mjpeg_2000,mpegvideo,obu,r3d,roq,rpl,smjpeg,vvc,webp_anim,yuv4mpegpipe"
)
# Images that Pillow does not read. Not svg_pipe, which draws text and more, and not image2, which takes a name for a
# pattern of others.
_IMAGES = (
    "bmp_pipe,dds_pipe,dpx_pipe,exr_pipe,gem_pipe,hdr_pipe,j2k_pipe,jpeg_pipe,jpegls_pipe,jpegxl_pipe,pam_pipe,pbm_pipe,"
    "pcx_pipe,pfm_pipe,pgm_pipe,pgx_pipe,phm_pipe,png_pipe,ppm_pipe,psd_pipe,qoi_pipe,sgi_pipe,sunrast_pipe,tiff_pipe,"
    "webp_pipe,xpm_pipe,xwd_pipe"
)
PLAYLISTS = ("hls", "concat", "dash", "sdp", "imf", "webm_dash_manifest", "rtsp", "sap")


# Those without a header: raw samples on standard input are taken for them, A-law for GSM, 64-bit floats for AMR.
_HEADERLESS = ("act", "amrnb", "amrwb", "aptx", "bit", "g722", "g723_1", "g726", "g726le", "g729", "gsm", "sbc", "sln")


def _allow(formats: str) -> tuple[str, ...]:
    return ("-format_whitelist", formats, "-protocol_whitelist", "file,pipe,fd")


# ffmpeg's options of an input that is a file or a named pipe, and of standard input.
WHITELIST = _allow(",".join((_CONTAINERS, _AUDIO, _VIDEO, _IMAGES)))
PIPE_WHITELIST = _allow(",".join(name for name in WHITELIST[1].split(",") if name not in _HEADERLESS))


def build_companion(track: int, source: int = 0) -> list[str]:
    """ffmpeg's arguments for a second output, of one packet that goes nowhere: with it, the tracks of the other output
    keep their distance from this one of input ``source``, as they do in a player."""
    return ["-map", f"{source}:{track}", "-c", "copy", "-frames", "1", "-f", "null", "-"]


def find_playlist(log: Sequence[str]) -> str | None:
    """The kind of playlist that ffmpeg was not allowed to open, from what it wrote."""
    refused = [line for line in log if "not on whitelist" in line]
    return next((kind for kind in PLAYLISTS if any(f"[{kind} @" in line for line in refused)), None)
