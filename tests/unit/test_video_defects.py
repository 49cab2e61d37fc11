"""Where other pipelines of this kind lose a film or a frame, and the tests that hold us to better.

Fourteen defects were found in pipelines that do the same with frames as files; `DEFECTS` names the tests of each.
"""

import ast
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from infra.wiring.functions import app
from models.contracts.film import FilmOptions
from models.names import VIDEO_UPLOADS
from tests.unit.films import LIMITS, Same
from tests.unit.studio import Studio
from video.join import join_film
from video.plan import plan_film
from video.segment import make_segment

TESTS = Path(__file__).parents[1]

DEFECTS = {
    "the last frames are lost where their number is no multiple of the workers'": [
        "unit/test_video_frames.py::test_no_frame_is_lost_for_any_number_of_frames_and_segments",
        "integration/test_video_film.py::test_no_frame_is_lost_for_any_number_of_workers",
    ],
    "every film gets 30 frames a second: others run faster, and drift from their sound": [
        "unit/test_video_frames.py::test_frame_rates_and_length_are_kept",
        "unit/test_video_frames.py::test_variable_frame_times_and_a_late_start_are_kept",
        "unit/test_video_stamps.py::test_two_frames_with_one_stamp_do_not_move_the_others",
    ],
    "the size grows to a multiple of four": [
        "unit/test_video_frames.py::test_the_size_is_kept_also_where_it_is_odd",
    ],
    "a silent film fails; further tracks, subtitles and the offset of the sound are lost": [
        "unit/test_video_tracks.py::test_a_film_without_sound_stays_without",
        "unit/test_video_tracks.py::test_every_packet_of_every_track_of_sound_is_copied",
        "unit/test_video_tracks.py::test_sound_that_begins_later_still_does",
        "unit/test_video_tracks.py::test_subtitles_chapters_and_tags_are_copied",
    ],
    "sound is encoded a second time": [
        "unit/test_video_tracks.py::test_every_packet_of_every_track_of_sound_is_copied",
        "unit/test_video_copies.py::test_sound_of_discs_is_copied",
    ],
    "pictures are JPEG twice on their way": [
        "unit/test_video_segment.py::test_pictures_reach_the_network_as_decoded_and_pass_through_no_file",
    ],
    "a name becomes part of a shell's command, and two names one": [
        "unit/test_video_jobs.py::test_hostile_names_are_stylised_and_never_collide",
        "unit/test_video_bad_input.py::test_a_name_is_never_taken_for_an_address_or_a_pattern",
    ],
    "a film of one frame is never begun": [
        "unit/test_video_frames.py::test_no_frame_is_lost_for_any_number_of_frames_and_segments",
        "unit/test_video_jobs.py::test_every_frame_comes_out_whatever_their_number",
    ],
    "an error in one frame leaves the job waiting for ever, without a reason": [
        "unit/test_video_jobs.py::test_a_segment_of_a_bad_film_fails_the_job_and_leaves_nothing",
        "unit/test_video_bad_input.py::test_damage_in_the_middle_fails_the_segment_with_place_and_reason",
        "unit/test_video_worker.py::test_the_job_of_a_step_that_failed_too_often_says_what_it_failed_with",
        "integration/test_video_jobs.py::test_what_cannot_be_a_film_ends_with_a_reason",
    ],
    "a file that is half written counts as done": [
        "unit/test_video_segment.py::test_a_join_refuses_a_set_that_is_not_whole_and_leaves_nothing",
        "unit/test_video_jobs.py::test_the_first_of_two_workers_decides_a_segment",
    ],
    "a restart loses the job, and a second event begins it again": [
        "unit/test_video_jobs.py::test_an_upload_becomes_one_job_however_often_its_event_comes",
        "unit/test_video_jobs.py::test_a_worker_that_dies_anywhere_costs_no_more_than_its_step",
        "integration/test_video_jobs.py::test_a_killed_worker_and_host_and_doubled_events_change_nothing",
    ],
    "a result is known by a word in its name, and films with that word are ignored": [
        "unit/test_video_defects.py::test_a_result_is_known_by_its_container_and_no_name_is_ignored",
    ],
    "anybody may start jobs, and keys of the account lie about": [
        "unit/test_video_defects.py::test_no_route_of_films_is_open_without_a_key",
        "contracts/test_blob_links.py::test_an_upload_address_opens_no_other_blob_and_neither_reads_nor_deletes",
        "integration/test_video_jobs.py::test_a_film_is_asked_for_put_with_plain_http_made_and_fetched",
    ],
    "one style, no progress, no cancelling, and the order of names ends at frame 99,999": [
        "unit/test_video_jobs.py::test_another_version_or_other_options_are_another_job",
        "unit/test_video_jobs.py::test_a_cancelled_job_stops_at_the_next_batch_and_leaves_nothing",
        "integration/test_video_film.py::test_every_frame_is_restyled_at_its_time_and_nothing_else_is_left",
        "unit/test_video_defects.py::test_segments_are_joined_by_number_however_many_digits_it_has",
        "unit/test_video_defects.py::test_a_film_of_more_frames_than_five_digits_number_keeps_them_in_order",
    ],
}


def test_each_defect_has_its_tests() -> None:
    assert len(DEFECTS) == 14
    named = {tuple(each.split("::")) for tests in DEFECTS.values() for each in tests}
    for file in {file for file, _ in named}:
        tree = ast.parse((TESTS / file).read_text())
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {name for at, name in named if at == file} <= there


def test_a_result_is_known_by_its_container_and_no_name_is_ignored(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    for name in ("processed_food.mp4", "processed/film.mp4", "film-stylised.mp4"):
        studio.intake.receive(studio.event(studio.put(name)))
    studio.run()
    jobs = studio.videos.latest()
    assert [str(job.state) for job in jobs] == ["done"] * 3
    for job in jobs:  # what was made begins nothing, whoever sends events of it
        made = studio.blobs.head(job.result)
        assert made is not None
        assert not made.name.startswith(VIDEO_UPLOADS)
        studio.intake.receive(studio.event(made))
        studio.sweeper.sweep()
    assert len(studio.videos.latest()) == 3
    assert studio.next() is None


def test_no_route_of_films_is_open_without_a_key() -> None:
    triggers = [each.get_trigger() for each in app.get_functions()]
    routes = [each.get_dict_repr() for each in triggers if each is not None]
    levels = [each["authLevel"].value for each in routes if str(each.get("route")).startswith("videos")]
    assert [str(level).upper() for level in levels] == ["FUNCTION"] * 4


def test_segments_are_joined_by_number_however_many_digits_it_has(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    frames = "".join(chr(ord("a") + number % 26) for number in range(420))
    job = studio.start(studio.put(frames=frames))
    studio.run()
    done = studio.videos.get(job.id)
    assert done.segments == 105
    assert studio.blobs.get(done.result).data.decode() == frames.upper()


def numbered(number: int) -> Any:
    """A picture of 24 x 16 whose squares of four pixels are the number's bits."""
    bits = np.array([number >> at & 1 for at in range(24)], np.uint8).reshape(4, 6)
    return np.kron(bits * 219 + 16, np.ones((4, 4), np.uint8)).astype(np.uint8)


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as film:
        grey = (frame.to_ndarray(format="gray")[2::4, 2::4].reshape(-1) > 127 for frame in film.decode(video=0))
        return [sum(int(bit) << at for at, bit in enumerate(bits)) for bits in grey]


@pytest.mark.scheduled
@pytest.mark.timeout(900)
def test_a_film_of_more_frames_than_five_digits_number_keeps_them_in_order(tmp_path: Path) -> None:
    count = 100_050
    source = tmp_path / "film.mp4"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"preset": "ultrafast", "qp": "10", "g": "250"})
        stream.width, stream.height, stream.pix_fmt = 24, 16, "yuv420p"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="gray8").reformat(format="yuv420p")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    plan = plan_film(source, FilmOptions(style="none"), LIMITS)
    assert plan.frames == count
    segments = []
    for index in range(len(plan.segments)):
        segments.append(tmp_path / str(index))
        segments[-1].write_bytes(make_segment(source, plan, index, Same(8)))
    join_film(source, plan, segments, tmp_path / "out.mp4")
    assert numbers(tmp_path / "out.mp4") == list(range(count))
