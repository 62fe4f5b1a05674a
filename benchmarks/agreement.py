"""Whether `decode_frames` gives the frames that the program ffmpeg shows, for each of many kinds of files.

python benchmarks/agreement.py [--only=mkv]

The program ffmpeg (7.0 or newer, with x264, x265, libvpx, libaom and libtheora) makes each file and decodes
it with `-fps_mode passthrough`. `inspect` has to accept it. The number of frames has to be the same, and no
frame may differ by more than 5 levels of 255 on average: two versions of FFmpeg interpolate the colours of 10
bits differently. Colours of interlaced frames are converted field by field, which the program does with
`interl=-1`. "Mirrored" and "shifted" are the least differences of a frame from ffmpeg's mirror image and from
ffmpeg's next frame: what a wrong frame would differ by.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile

import numpy as np

from pipelines.bad_video import BadVideo
from pipelines.decoding.decode import decode_frames, inspect

MOST_LEVELS = 5
_SOURCE = "-f lavfi -i testsrc2=s={size}:r={rate}:d=2,scroll=h=0.023:v=0.011"
_SOUND = "-f lavfi -i sine=d=2"
_COVER = "-f lavfi -i mandelbrot=s=96x64:r=1"
H264 = "-c:v libx264 -preset veryfast -g 12 -pix_fmt yuv420p"
OPEN = f"{H264} -bf 3 -x264-params open-gop=1:b-pyramid=normal"
X265 = "keyint=12:bframes=3:pools=none:log-level=none"
HEVC = f"-c:v libx265 -preset ultrafast -x265-params {X265} -pix_fmt yuv420p"
VP8 = "-c:v libvpx -deadline realtime -g 12 -b:v 1M"
ALT8 = "-c:v libvpx -deadline good -cpu-used 4 -auto-alt-ref 1 -lag-in-frames 12 -g 24 -b:v 300k"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 12 -b:v 1M"
ALT9 = "-c:v libvpx-vp9 -deadline good -cpu-used 6 -auto-alt-ref 1 -lag-in-frames 12 -g 24 -b:v 300k"
MPEG4 = "-c:v mpeg4 -bf 2 -g 12 -q:v 3"
MJPEG = "-c:v mjpeg -q:v 3"
AV1 = "-c:v libaom-av1 -usage realtime -cpu-used 8 -g 12 -b:v 1M"
MPEG2 = "-c:v mpeg2video -bf 2 -g 12 -q:v 3"
UNEVEN = "-vf select='lt(n\\,9)+not(mod(n\\,3))' -fps_mode vfr"
INTERLACED = "-flags +ilme+ildct"
CROPPED = "-bsf:v %s_metadata=crop_left=6:crop_top=2"
FRAGMENTS = "-movflags frag_keyframe+empty_moov"


def plain(suffix, options, size="160x120", rate="25", sound=False):
    """Returns the steps of a file that is encoded, with or without sound."""
    source = _SOURCE.format(size=size, rate=rate) + f" {_SOUND}" * sound
    return [(suffix, f"{source} {options}")]


def copied(suffix, options, before, after="-c copy", **more):
    """Returns the steps of a file that is encoded and then copied with other options."""
    return [*plain(suffix, options, **more), (suffix, f"{before} -i LAST {after}")]


# Name -> steps (suffix, arguments of ffmpeg without the output); LAST is the output of the step before.
FILES = {
    f"{suffix}, {name}": plain(suffix, options)
    for name, options, suffixes in (
        ("h264", H264, "mp4 mov mkv avi ts flv"),
        ("hevc", HEVC, "mp4 mov mkv ts"),
        ("vp8", VP8, "webm mkv"),
        ("vp8 with hidden frames", ALT8, "webm"),
        ("vp9", VP9, "mp4 webm mkv"),
        ("vp9 with hidden frames", ALT9, "webm"),
        ("mpeg4", MPEG4, "mp4 mov avi mkv ts"),
        ("mjpeg", MJPEG, "mov avi mkv"),
        ("av1", AV1, "mp4 webm mkv"),
        ("mpeg2", MPEG2, "ts mpg"),
    )
    for suffix in suffixes.split()
}
FILES |= {
    f"{suffix}, {name}, {shown}": copied(suffix, options, before)
    for suffix, name, options, showns in (
        ("mp4", "h264", H264, "90 180 270 hflip vflip 90+hflip 270+hflip 90+vflip"),
        ("mov", "hevc", HEVC, "90 hflip"),
        ("mp4", "mpeg4", MPEG4, "180 90+hflip"),
        ("mkv", "h264", H264, "90 180 270 hflip vflip 90+hflip 270+hflip"),
        ("webm", "vp9", VP9, "270"),
    )
    for shown in showns.split()
    for before in [
        " ".join(
            f"-display_rotation {word}" if word.isdigit() else f"-display_{word}" for word in shown.split("+")
        )
    ]
}
FILES |= {
    f"{suffix}, {name}, {rate} a second": plain(suffix, options, rate=rate)
    for suffix, name, options, rates in (
        ("mp4", "h264", H264, "24000/1001 30000/1001 15"),
        ("mkv", "h264", H264, "24000/1001 30000/1001 29.97"),
        ("webm", "vp9", VP9, "15 30000/1001"),
        ("avi", "mpeg4", MPEG4, "30000/1001"),
    )
    for rate in rates.split()
}
FILES |= {
    f"{suffix}, {name}, uneven times": plain(suffix, f"{options} {UNEVEN}")
    for suffix, name, options in (
        ("mp4", "h264", H264),
        ("mkv", "h264", H264),
        ("ts", "h264", H264),
        ("webm", "vp9", VP9),
    )
}
FILES |= {
    f"{suffix}, {name}, cut: {before} {after}": copied(suffix, options, before, f"{after} -c copy")
    for suffix, name, options, before, after in (
        ("mp4", "h264", H264, "-ss 0.9", ""),
        ("mp4", "h264 open GOPs", OPEN, "-ss 0.7", ""),
        ("mkv", "h264 open GOPs", OPEN, "-ss 0.7", ""),
        ("mov", "hevc", HEVC, "-ss 1.1", ""),
        ("mkv", "h264", H264, "-ss 0.9", ""),
        ("webm", "vp9", VP9, "-ss 0.9", ""),
        ("ts", "mpeg2", MPEG2, "-ss 0.9", ""),
        ("mp4", "mpeg4", MPEG4, "-ss 0.9", ""),
        ("mp4", "h264", H264, "", "-t 0.7"),
        ("avi", "mpeg4", MPEG4, "-ss 0.9", ""),
        ("mp4", "h264", H264, "-itsoffset 0.5", ""),
    )
}
FILES |= {
    "mp4, h264, a cover after it": copied(
        "mp4", H264, _COVER, "-map 1 -map 0 -frames:1 1 -c:1 mjpeg -c:0 copy -disposition:1 attached_pic"
    ),
    "mp4, h264, a cover before it": copied(
        "mp4", H264, _COVER, "-map 0 -map 1 -frames:0 1 -c:0 mjpeg -c:1 copy -disposition:0 attached_pic"
    ),
    "mp4, h264, sound": plain("mp4", f"{H264} -c:a aac", sound=True),
    "mkv, h264, sound": plain("mkv", f"{H264} -c:a libvorbis", sound=True),
    "avi, mpeg4, sound": plain("avi", f"{MPEG4} -c:a libmp3lame", sound=True),
    "ts, h264, sound": plain("ts", f"{H264} -c:a mp2", sound=True),
    "mp4, h264, open GOPs": plain("mp4", OPEN),
    "mp4, h264, 177x145 in 4:4:4": plain("mp4", H264.replace("420", "444"), size="177x145"),
    "webm, vp9, 178x146": plain("webm", VP9, size="178x146"),
    "mp4, h264, 162x122": plain("mp4", H264, size="162x122"),
    "mp4, h264, cropped": copied("mp4", H264, "", f"{CROPPED % 'h264'} -c copy"),
    "mkv, hevc, cropped": copied("mkv", HEVC, "", f"{CROPPED % 'hevc'} -c copy"),
    "mkv, h264, one frame for 3 s": plain("mkv", H264, rate="1/3"),
    "flv, h264, one frame for 3 s": plain("flv", H264, rate="1/3"),
    "ts, h264, clock that overflows": plain("ts", f"{H264} -output_ts_offset 95442.7"),
    "mp4, h264, cut twice": [*copied("mp4", H264, "-ss 0.3"), ("mp4", "-ss 0.6 -i LAST -c copy")],
    "mov, h264, times in 600ths": plain("mov", f"{H264} -video_track_timescale 600", rate="30000/1001"),
    "mkv, h264, 10 bits": plain("mkv", H264 + "10le"),
    "mp4, hevc, 10 bits": plain("mp4", HEVC + "10le"),
    "mp4, h264, interlaced": plain("mp4", f"{H264} {INTERLACED}"),
    "ts, h264, interlaced": plain("ts", f"{H264} {INTERLACED}"),
    "ts, mpeg2, interlaced": plain("ts", f"{MPEG2} {INTERLACED}"),
    "mkv, h264, intra refresh": plain("mkv", f"{H264} -intra-refresh 1"),
    "mp4, h264, fragments": plain("mp4", f"{H264} {FRAGMENTS}"),
    "ogv, theora": plain("ogv", "-c:v libtheora -q:v 8 -g 12"),
    "gif": plain("gif", "-c:v gif"),
    "mkv, h264, live": plain("mkv", f"{H264} -live 1"),
    "webm, vp9, live": plain("webm", f"{VP9} -live 1"),
    "mkv, h264, sound that is longer": copied("mkv", H264, "-f lavfi -i sine=d=5", "-map 0 -map 1 -c:v copy"),
    "flv, h264, no duration": plain("flv", f"{H264} -flvflags no_duration_filesize"),
    "mp4, h264, segments with an index": plain("mp4", f"{H264} -movflags dash+global_sidx"),
    "ismv, h264": plain("ismv", H264),
    "m2ts, h264": plain("m2ts", f"{H264} -mpegts_m2ts_mode 1"),
    "avi, xvid": plain("avi", "-c:v libxvid -bf 2 -g 12"),
    "avi, msmpeg4v2": plain("avi", "-c:v msmpeg4v2 -g 12"),
    "avi, mpeg4, uneven times": plain("avi", f"{MPEG4} {UNEVEN}"),
    "wmv, wmv2": plain("wmv", "-c:v wmv2 -g 12"),
    "3gp, h263": plain("3gp", "-c:v h263 -g 12", size="176x144"),
    "mov, svq1": plain("mov", "-c:v svq1 -g 12"),
    "mov, prores": plain("mov", "-c:v prores"),
    "mkv, ffv1": plain("mkv", "-c:v ffv1 -slicecrc 1"),
    "mpg, mpeg1": plain("mpg", "-c:v mpeg1video -g 12 -bf 2"),
    "ivf, vp8": plain("ivf", VP8),
    "h264": plain("h264", H264),
}


def ffmpeg(*arguments):
    """Returns what the program ffmpeg writes to its standard output; raises CalledProcessError."""
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def write(steps, directory):
    """Makes a file and returns its path."""
    path = ""
    for number, (suffix, arguments) in enumerate(steps):
        words = [path if word == "LAST" else word for word in shlex.split(arguments)]
        path = os.path.join(directory, f"{number}.{suffix}")
        ffmpeg(*words, "-threads", "1", path)
    return path


def shown_by_ffmpeg(path, height, width):
    """Returns uint8 [n, H, W, 3], all frames as the program ffmpeg shows them."""
    form = ["-vf", "scale=flags=bilinear:interl=-1", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    data = ffmpeg("-i", path, "-map", "0:V:0", "-fps_mode", "passthrough", *form, "-")
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def levels(frames, others):
    """Returns float [n], the mean difference of each frame from its other one."""
    return np.array([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, others, strict=False)])


def compare(path):
    """Returns our frames, ffmpeg's, the largest difference, the least from mirrors and from next frames.

    Raises:
        BadVideo: A check would refuse the file.
    """
    inspect(path)
    ours = decode_frames(path, lambda seconds: np.arange(len(seconds))).frames
    theirs = shown_by_ffmpeg(path, *ours.shape[1:3])
    differences = levels(ours, theirs), levels(ours, theirs[:, :, ::-1]), levels(ours, theirs[1:])
    return (
        len(ours),
        len(theirs),
        differences[0].max(),
        differences[1].min(),
        differences[2].min(initial=np.inf),
    )


def agrees(ours, theirs, most, *_):
    """Returns whether what `compare` gives is no disagreement."""
    return ours == theirs and most <= MOST_LEVELS


def main(arguments=None):
    """Prints a line for each file, and ends with a status of 1 if one disagrees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a part of the names of the files")
    only = parser.parse_args(arguments).only
    print("| file | frames | ffmpeg's | difference | mirrored | shifted | |")
    print("|---|--:|--:|--:|--:|--:|---|")
    wrong = 0
    for name, steps in FILES.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as directory:
            try:
                found = compare(write(steps, directory))
                row = [*map(str, found[:2]), *(f"{number:.2f}" for number in found[2:])]
                row += ["agrees" if agrees(*found) else "DISAGREES"]
                wrong += not agrees(*found)
            except (subprocess.CalledProcessError, BadVideo, ValueError) as error:
                row, wrong = [str(getattr(error, "stderr", error))], wrong + 1
        print("| " + " | ".join([name, *row]) + " |", flush=True)
    sys.exit(f"{wrong} disagree" if wrong else 0)


if __name__ == "__main__":
    main()
