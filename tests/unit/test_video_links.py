"""Addresses for films where there is no account key to sign them with: what is said, and what goes on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from functions.videos.queries import show_video
from functions.videos.uploads import expect_upload
from infra.azure.links import AzureLinks
from models.contracts.videos import VideoState
from models.errors import ConfigurationError, NotFound
from tests.unit.studio import Studio

VALID = timedelta(minutes=15)
SIGNED = "BlobEndpoint=https://account.blob.core.windows.net;SharedAccessSignature=sv=x"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def test_a_post_without_a_key_says_what_to_do_and_is_neither_counted_nor_recorded(studio: Studio) -> None:
    links = AzureLinks(SIGNED, studio.clock)

    def post(links: object) -> str:
        return expect_upload(
            b"{}", "caller", videos=studio.videos, links=links, clock=studio.clock, new_id=lambda: "an id",
            valid=VALID, per_hour=1,
        ).id  # fmt: skip

    for _ in range(2):
        with pytest.raises(ConfigurationError, match="AccountKey there, or put films into the container videos-in"):
            post(links)
    with pytest.raises(NotFound):
        studio.videos.upload("an id")
    assert post(studio.links) == "an id"  # the one that the quota allows
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
