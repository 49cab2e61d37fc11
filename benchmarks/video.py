"""Films: whole jobs beside the reference script's way, what is not the network, workers, memory, and the pictures."""

import multiprocessing
import threading
import time
from importlib.resources import files
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.peers import style_jpeg
from benchmarks.report import Figure, Report, ratio
from models.contracts.film import FilmOptions, FilmPlan, Limits
from models.style.library import Style, StyleLibrary
from models.style.network import open_network
from video.crew import Crew, Job

_STYLE: Final = "starry-night"
_SMALL: Final = (640, 360)
_MIDDLE: Final = (1280, 720)
_LARGE: Final = (1920, 1080)
_LEAST_PSNR: Final = {"fp32": 50.0, "bf16": 35.0, "fp16": 40.0}
_Frames = npt.NDArray[np.uint8]


def run(folder: Path, *, quick: bool = False) -> Report:
    """Measure and compare in `folder`."""
    library = StyleLibrary(files("video") / "styles")
    fine, fast = library.find(_STYLE, "fine"), library.find(_STYLE, "fast")
    repetitions, frames = (1, 12) if quick else (3, 96)
    failures: list[str] = []
    small, middle, large = _clips(folder, frames)
    figures = _whole_jobs(small, fine, fast, repetitions, failures)
    figures += _workers(folder, fine, repetitions, 48 if quick else 240)
    figures += _without_network(middle, fine, repetitions)
    figures += [_memory(large, style) for style in (fine, fast)]
    figures += _pictures(small, (fine, fast), failures)
    return Report(
        name="video",
        title="Films restyled on CPUs",
        conditions=[
            f"A made clip with sound, {frames} frames at 30 frames/s, H.264; style {_STYLE}, as shipped.",
            "The reference's way: frames as JPEG files by FFmpeg, PyTorch eager on one at a time by all cores, "
            "truncated, JPEG again at quality 75, FFmpeg at its default preset; importing torch and loading the "
            "network are not counted. It runs the network of `fine`, in fp32.",
            "Ours: `penstock video stylise` with its defaults, one single-threaded process per core, x264 veryfast; "
            "starting the processes and opening the networks is counted. `fine, fp32` is by ONNX Runtime, as on CPUs "
            "without units for bf16.",
            "Two workers beside one: a clip of 240 frames in the same eight segments for both, while all run. The "
            "worker that is alone has the second core for its decoding and encoding.",
            f"Runtime: {_runtime(fine)}.",
            "Everything but the network: decoding, conversion, x264 veryfast and the container, in one segment whose "
            "network gives its input back.",
            "Pictures are compared with PyTorch's, in fp32, of the same decoded frames.",
        ],
        figures=figures,
        failures=failures,
    )


def _clips(folder: Path, frames: int) -> tuple[Path, Path, Path]:
    from video.clip import make_clip

    paths = []
    for size, count in ((_SMALL, frames), (_MIDDLE, frames), (_LARGE, 8)):
        paths.append(folder / f"{size[1]}.mp4")
        make_clip(paths[-1], frames=count, fps=30, size=size)
    return paths[0], paths[1], paths[2]


def _whole_jobs(clip: Path, fine: Style, fast: Style, repetitions: int, failures: list[str]) -> list[Figure]:
    network = clip.with_name("fine.onnx")
    network.write_bytes(fine.graph)
    contests: dict[str, tuple[Style, list[str] | None, float]] = {
        "fine": (fine, None, 2.0 if "bf16" in _runtime(fine) else 1.3),
        "fine, fp32": (fine, ["cpu"], 1.3),
        "fast": (fast, None, 6.0),
    }
    rates: dict[str, list[float]] = {"reference": [], **{name: [] for name in contests}}
    for _ in range(repetitions):
        peer = style_jpeg.contest(clip, clip.with_name("reference.mp4"), network)
        rates["reference"].append(peer.frames / peer.seconds)
        for name, (style, providers, _) in contests.items():
            rates[name].append(_film(clip, clip.with_name(f"{name}.mp4"), style, providers))
    failures += _compare_films(clip, fine, {name: clip.with_name(f"{name}.mp4") for name in rates if name != "fast"})
    where = f"whole job, {_SMALL[0]}x{_SMALL[1]}"
    return [
        *(Figure(name=f"{where}: {name}", unit="frames/s", values=values) for name, values in rates.items()),
        *(
            Figure(
                name=f"{where}: {name} over reference",
                unit="",
                values=ratio(rates[name], rates["reference"]),
                at_least=target,
            )
            for name, (_, _, target) in contests.items()
        ),
    ]


def _film(clip: Path, out: Path, style: Style, providers: list[str] | None) -> float:
    """Frames per second of the whole job."""
    from video.film import stylise_film

    begun = time.perf_counter()
    frames = stylise_film(clip, out, style, _options(style), providers=providers, force=True).frames
    return frames / (time.perf_counter() - begun)


def _options(style: Style) -> FilmOptions:
    return FilmOptions(style=style.manifest.style, quality=style.manifest.quality)  # type: ignore[arg-type]  # read_manifest did


def _workers(folder: Path, style: Style, repetitions: int, frames: int) -> list[Figure]:
    """Frames per second while all run, of one and of two processes with one thread each, at the same segments."""
    from video.clip import make_clip
    from video.plan import plan_film

    clip = folder / "long.mp4"
    make_clip(clip, frames=frames, fps=30, size=_SMALL)
    plan = plan_film(clip, _options(style), Limits(), segment_frames=frames // 8)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repetitions):
        for workers, values in rates.items():
            values.append(_steady_rate(Job(clip, plan, style, folder, 1), workers))
    return [
        *(
            Figure(name=f"fine, {n} worker{'s' * (n > 1)} of 1 thread, running", unit="frames/s", values=v)
            for n, v in rates.items()
        ),
        Figure(name="two workers over one", unit="", values=ratio(rates[2], rates[1]), at_least=1.7),
    ]


def _steady_rate(job: Job, workers: int) -> float:
    """Over the middle of the film, where every worker has begun and none has ended."""
    moments: list[tuple[float, int]] = []
    with Crew(job, workers) as crew:
        crew.make(range(len(job.plan.segments)), lambda frames: moments.append((time.perf_counter(), frames)))
    total = job.plan.frames
    running = [(at, frames) for at, frames in moments if 0.2 * total <= frames <= 0.8 * total]
    return (running[-1][1] - running[0][1]) / (running[-1][0] - running[0][0])


class _Same:
    batch = 1

    def __call__(self, frames: _Frames) -> _Frames:
        return frames


def _without_network(clip: Path, style: Style, repetitions: int) -> list[Figure]:
    from video.join import join_film
    from video.plan import plan_film
    from video.segment import make_segment

    plan = plan_film(clip, _options(style), Limits())
    wall, cpu = [], []
    for _ in range(repetitions):
        begun, used = time.perf_counter(), time.process_time()
        parts = []
        for index in range(len(plan.segments)):
            parts.append(clip.with_name(f"part-{index}"))
            parts[-1].write_bytes(make_segment(clip, plan, index, _Same()))
        join_film(clip, plan, parts, clip.with_name("same.mp4"))
        wall.append(1000 * (time.perf_counter() - begun) / plan.frames)
        cpu.append(1000 * (time.process_time() - used) / plan.frames)
    where = f"everything but the network, {_MIDDLE[0]}x{_MIDDLE[1]}"
    return [
        Figure(name=where, unit="ms/frame", values=wall, at_most=15.0),
        Figure(name=f"{where}: CPU", unit="ms/frame", values=cpu, note="of all threads"),
    ]


def _memory(clip: Path, style: Style) -> Figure:
    """Peak of resident memory of a process that makes a segment at 1920x1080."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_make_one, args=(theirs, clip, style))
    process.start()
    theirs.close()
    peak = ours.recv()
    process.join()
    name = f"memory of a worker at {_LARGE[0]}x{_LARGE[1]}, {style.manifest.quality}"
    return Figure(name=name, unit="GB", values=[peak / 1e9], at_most=1.2, note="peak resident size")


def _make_one(pipe: "Connection[Any, Any]", clip: Path, style: Style) -> None:
    from video.plan import plan_film
    from video.segment import make_segment

    plan = plan_film(clip, _options(style), Limits())
    make_segment(clip, plan, 0, _network(style, plan))
    status = Path("/proc/self/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith("VmHWM:"))
    pipe.send(int(line.split()[1]) * 1024)


def _network(style: Style, plan: FilmPlan, *, providers: list[str] | None = None) -> Any:
    source = plan.source
    return open_network(
        style.graph,
        style.manifest,
        height=source.height,
        width=source.width,
        options=plan.options,
        providers=providers,
    )


def _runtime(style: Style) -> str:
    network = open_network(style.graph, style.manifest, height=64, width=64, options=_options(style))
    return network.describe()


def _pictures(clip: Path, styles: tuple[Style, ...], failures: list[str]) -> list[Figure]:
    """Our runtimes against PyTorch on frames of the clip."""
    from models.style.network import installed

    figures = []
    for style in styles:
        plan, frames = _some_frames(clip, style)
        wanted = [_torch(style, frame) for frame in frames]
        for provider in installed():
            network = _network(style, plan, providers=[provider])
            got = [network(frame[None])[0].astype(np.float64) for frame in frames]
            name = f"{style.manifest.quality}, {network.describe()}"
            psnr = [_psnr(a, b) for a, b in zip(got, wanted, strict=True)]
            worst = max(float(np.abs(a - np.rint(b)).max()) for a, b in zip(got, wanted, strict=True))
            precision = network.describe().rpartition(" ")[2]
            figures.append(
                Figure(
                    name=f"against PyTorch: {name}",
                    unit="dB",
                    values=psnr,
                    at_least=_LEAST_PSNR[precision],
                    note=f"at most {worst:.0f} levels",
                )
            )
            if min(psnr) < _LEAST_PSNR[precision] or (precision == "fp32" and worst > 1):
                failures.append(f"{name}: {min(psnr):.1f} dB and {worst:.0f} levels from PyTorch")
    return figures


def _some_frames(clip: Path, style: Style) -> tuple[FilmPlan, list[_Frames]]:
    from video.decode import frames_between
    from video.plan import plan_film

    plan = plan_film(clip, _options(style), Limits())
    frames = [frame.picture.copy() for frame in frames_between(clip, plan, plan.segments[0], threading.Event())]
    return plan, frames[:: max(1, len(frames) // 5)]


def _torch(style: Style, frame: _Frames) -> npt.NDArray[np.float64]:
    """float64 [h, w, 3] in 0..255, before rounding. The size must suit the network."""
    import torch

    from training.style.graph import network_of

    with torch.inference_mode():
        tensor = torch.from_numpy(frame.transpose(2, 0, 1).copy()).unsqueeze(0).float() / 255
        result: npt.NDArray[np.float64] = (network_of(style.graph)(tensor)[0] * 255).clamp(0, 255).double().numpy()
    return result.transpose(1, 2, 0)


def _psnr(got: npt.NDArray[np.float64], want: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / max(float(np.mean((got - want) ** 2)), 1e-12)))


def _compare_films(clip: Path, style: Style, films: dict[str, Path]) -> list[str]:
    """What is wrong with the films: frames must be as many as in the source, and be its pictures."""
    import av

    complaints = []
    with av.open(clip) as source:
        sources = [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in source.decode(video=0)]
    for name, path in films.items():
        with av.open(path) as film:
            frames = [frame.to_ndarray(format="rgb24").astype(np.float64) for frame in film.decode(video=0)]
        if len(frames) != len(sources):
            complaints.append(f"{name}: {len(frames)} frames of {len(sources)}")
            continue
        middle = len(frames) // 2
        if (found := _psnr(frames[middle], _torch(style, sources[middle]))) < 20:
            complaints.append(f"{name}: frame {middle} is {found:.1f} dB from PyTorch's")
    return complaints
