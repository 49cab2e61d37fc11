"""The reference script's way: frames as JPEG files, PyTorch eager, one at a time, FFmpeg before and after.

As Azure/Batch-Scoring-Deep-Learning-Models-With-AML does it, `ffmpeg` splits film and sound into files, a loop loads
each frame, runs the network on it, clamps, truncates to bytes and saves it at Pillow's JPEG quality of 75, and
`ffmpeg` makes a film of them at 30 frames/s (libx264, high profile, CRF 20, its default preset) and adds the sound.

    python -m benchmarks.peers.style_jpeg SOURCE OUT NETWORK.onnx
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec


class Outcome(msgspec.Struct):
    """Frames, and seconds from the first command to the last: imports and loading the network are not counted."""

    frames: int
    seconds: float
    network_s: float


def stylise(source: Path, out: Path, graph: bytes) -> Outcome:
    """Write `source` as restyled by `graph`, a network of `penstock train style`, to `out`."""
    import imageio_ffmpeg
    import numpy as np
    import torch
    from PIL import Image

    from training.style.graph import network_of

    network = network_of(graph).eval()
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"]
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        frames, styled = Path(folder, "frames"), Path(folder, "styled")
        frames.mkdir()
        styled.mkdir()
        begun = time.perf_counter()
        _run(*ffmpeg, "-i", str(source), f"{frames}/%05d_video.jpg")
        _run(*ffmpeg, "-i", str(source), "-vn", f"{folder}/sound.aac")
        network_s = 0.0
        files = sorted(frames.iterdir())
        with torch.no_grad():
            for file in files:
                picture = np.asarray(Image.open(file).convert("RGB"), np.float32)
                tensor = torch.from_numpy(picture.transpose(2, 0, 1).copy()).unsqueeze(0)
                at = time.perf_counter()
                result = network(tensor / 255) * 255
                network_s += time.perf_counter() - at
                pixels = result[0].clamp(0, 255).numpy().transpose(1, 2, 0).astype("uint8")
                Image.fromarray(pixels).save(styled / file.name)
        encoder = ["-c:v", "libx264", "-profile:v", "high", "-crf", "20", "-pix_fmt", "yuv420p"]
        _run(*ffmpeg, "-framerate", "30", "-i", f"{styled}/%05d_video.jpg", *encoder, f"{folder}/silent.mp4")
        _run(*ffmpeg, "-i", f"{folder}/silent.mp4", "-i", f"{folder}/sound.aac", "-c", "copy", str(out))
        return Outcome(len(files), time.perf_counter() - begun, network_s)


def contest(source: Path, out: Path, network: Path) -> Outcome:
    """The outcome of this contestant in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers.style_jpeg", str(source), str(out), str(network)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    return msgspec.json.decode(done.stdout, type=Outcome)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    found = stylise(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]).read_bytes())
    sys.stdout.buffer.write(msgspec.json.encode(found))
