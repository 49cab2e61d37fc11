"""The registered form of a recommender: what it holds, and what is refused."""

import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.errors import ModelRefused
from models.manifest import Manifest
from models.recommend.bundle import AlsBundle, decode_bundle, encode_bundle
from models.recommend.catalogue import decode_catalogue
from models.recommend.equations import Equations
from tests.unit.recommending import PARAMETERS, manifest_of, small_bundle


def test_a_bundle_reads_as_it_was_written() -> None:
    bundle = small_bundle()
    read = decode_bundle(manifest_of(), encode_bundle(bundle).__getitem__)
    np.testing.assert_array_equal(read.factors, bundle.factors)
    np.testing.assert_array_equal(read.catalogue.ratings, bundle.catalogue.ratings)
    assert read.catalogue.genres == bundle.catalogue.genres
    assert (read.catalogue.items, read.catalogue.titles) == (bundle.catalogue.items, bundle.catalogue.titles)
    assert (read.topk, read.foldin, read.index) == (bundle.topk, bundle.foldin, None)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda b: replace(b, factors=b.factors[:-1]), "39 rows"),
        (lambda b: replace(b, factors=b.factors * np.float32("nan")), "not finite"),
        (lambda b: replace(b, factors=b.factors * 0), "all factors are 0"),
        (lambda b: replace(b, factors=b.factors[:, :0]), "at least one item"),
        (lambda b: replace(b, catalogue=b.catalogue.at(np.arange(40)[::-1])), "lowest id first"),
    ],
)
def test_what_would_answer_nonsense_is_refused(spoil: object, reason: str) -> None:
    assert callable(spoil)
    with pytest.raises(ModelRefused, match=reason):
        encode_bundle(spoil(small_bundle()))


@pytest.mark.parametrize("name", ["items.npy", "items.parquet"])
@pytest.mark.parametrize("data", [b"", b"PAR1", b"\x93NUMPY\x01\x00nonsense", b"{}"])
def test_a_broken_file_is_refused_with_the_version_in_the_message(name: str, data: bytes) -> None:
    files = {**encode_bundle(small_bundle()), name: data}
    with pytest.raises(ModelRefused, match="model recommender v1"):
        decode_bundle(manifest_of(), files.__getitem__)


@pytest.mark.parametrize(
    "wrong", [{"engine": "abacus"}, {"objective": 1}, {"regularization": 0}, {"alpha": "2"}, {"confidence": "none"}]
)
def test_parameters_that_no_engine_has_are_refused(wrong: dict[str, int | float | str]) -> None:
    with pytest.raises(ModelRefused, match=next(iter(wrong))):
        Equations.of({**PARAMETERS, **wrong})


def test_another_kind_of_model_is_refused() -> None:
    manifest = replace_kind("fm")
    with pytest.raises(ModelRefused, match="expected kind 'als', got 'fm'"):
        decode_bundle(manifest, encode_bundle(small_bundle()).__getitem__)


def test_items_without_a_training_rating_are_left_out() -> None:
    bundle = small_bundle()
    counts = bundle.catalogue.ratings.copy()
    counts[[0, 5]] = 0
    kept = replace(bundle, catalogue=replace(bundle.catalogue, ratings=counts)).trained()
    assert len(kept.factors) == 38
    assert kept.catalogue.items[0] == "2"
    with pytest.raises(ModelRefused, match="no item"):
        none_rated(bundle).trained()


def test_a_catalogue_needs_its_columns() -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"item": ["1"], "title": ["A"]}), buffer)
    with pytest.raises(ModelRefused, match="genres, ratings is missing"):
        decode_catalogue(buffer.getvalue())


def test_files_that_are_damaged_are_refused() -> None:
    for data in (b"", b"rubbish", b"PAR1" + b"\0" * 100 + b"PAR1"):
        with pytest.raises(ModelRefused, match=f"items file: expected a Parquet file, got {len(data)} other bytes"):
            decode_catalogue(data)


def replace_kind(kind: str) -> Manifest:
    return msgspec.structs.replace(manifest_of(), kind=kind)


def none_rated(bundle: AlsBundle) -> AlsBundle:
    return replace(bundle, catalogue=replace(bundle.catalogue, ratings=np.zeros(40, dtype=np.int64)))


def test_items_are_read_without_pandas_and_share_the_texts_of_genres() -> None:
    code = (
        "import sys; from models.recommend.catalogue import decode_catalogue; "
        "read = decode_catalogue(sys.stdin.buffer.read()); "
        "assert 'pandas' not in sys.modules; "
        "assert len({id(genre) for genres in read.genres for genre in genres}) < len(read)"
    )
    data = encode_bundle(small_bundle())["items.parquet"]
    subprocess.run([sys.executable, "-c", code], input=data, check=True)
