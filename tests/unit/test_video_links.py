"""Addresses for films where there is no account key to sign them with: what is said, and what goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from functions.films import films
from functions.videos.queries import show_video
from functions.videos.services import VideoServices
from infra.azure.links import AzureLinks
from models.contracts.videos import VideoState
from tests.unit.studio import Studio

VALID = timedelta(minutes=15)
SIGNED = "BlobEndpoint=https://account.blob.core.windows.net;SharedAccessSignature=sv=x"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def post(services: VideoServices) -> tuple[int, dict[str, Any]]:
    app = films(lambda: services, sweep_schedule="0 * * * * *")
    (create,) = (each for each in app._function_builders if each._function._name == "create_video")
    request = func.HttpRequest(method="POST", url="/api/videos", headers={}, params={}, route_params={}, body=b"{}")
    answer = create._function.get_user_function()(request)
    return answer.status_code, json.loads(answer.get_body())


def test_a_post_without_a_key_says_what_to_do_and_is_neither_counted_nor_recorded(studio: Studio) -> None:
    links = AzureLinks(SIGNED, studio.clock)
    services = replace(studio.services, uploads_per_hour=1)
    for _ in range(2):
        status, answer = post(replace(services, links=links))
        assert status == 500
        assert "AccountKey there, or put films into the container videos-in" in answer["error"]
    assert not [key for key in studio.state.documents if key[0] == "videos"]
    assert [post(services)[0] for _ in range(2)] == [201, 429]  # the one that the quota allows
    links.close()


def test_a_finished_film_is_shown_without_an_address_where_none_can_be_signed(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    links = AzureLinks(SIGNED, studio.clock)
    job = studio.start()
    studio.run()
    shown = show_video(job.id, studio.videos, links, studio.clock, valid=VALID)
    assert (shown.state, shown.download_url) == (VideoState.DONE, "")
    assert shown.result.startswith("videos-out/")
    assert "which DataStorage does not hold" in caplog.text
    assert show_video(job.id, studio.videos, studio.links, studio.clock, valid=VALID).download_url
    links.close()
