r"""The whole run on Spark, for ratings of any size: read, split, fit, evaluate, write the factors.

    python -m training.recommend.spark.job --ratings ratings.parquet --out factors
    spark-submit --master URL --py-files penstock-packages.zip .../training/recommend/spark/job.py \
        --ratings abfss://... --out abfss://... --checkpoints abfss://...

`--package FOLDER` writes that zip. The report goes to stdout as one JSON document, and to `report.json` in `--out`
beside `user_factors` and `item_factors` (Parquet: `id` text, `features` array<float>). `--out` is overwritten, so a
run that is started again is harmless.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from models.errors import BadInput, PenstockError
from training.recommend.als import AlsOptions, default_options
from training.recommend.readers import RatingColumns
from training.recommend.spark.engine import fit_frame, vectors_by_place
from training.recommend.spark.evaluate import errors_of_frame, evaluate_frame
from training.recommend.spark.frames import ids_of, read_frame, with_places
from training.recommend.spark.session import LOCAL, spark_session
from training.recommend.spark.shipping import packages_zip
from training.recommend.spark.splits import split_frame

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def run(arguments: argparse.Namespace, session: "SparkSession") -> dict[str, Any]:
    """The run that the arguments describe; the report, with metrics under plain names at the top level."""
    options = _options(arguments)
    columns = RatingColumns.parse(arguments.columns) if arguments.columns else None
    named = read_frame(arguments.ratings, session, columns=columns).cache()
    ids = ids_of(named)
    parts = split_frame(named, arguments.split, ratio=arguments.ratio, seed=arguments.seed, by=arguments.by)
    train, test = (with_places(part, ids).cache() for part in parts)
    rows = train.count(), test.count()
    if not all(rows):
        raise BadInput(f"split {arguments.split} with ratio {arguments.ratio} leaves an empty part: {rows}")
    named.unpersist()
    begun = time.monotonic()
    model = fit_frame(train, rows[0], options)
    item_factors = vectors_by_place(model.itemFactors, len(ids.items), options)
    fit_seconds = time.monotonic() - begun
    found = evaluate_frame(model, item_factors, train, test, arguments.k)
    if options.objective == "explicit":
        found |= errors_of_frame(model, test)
    report = {
        **found,
        "fit_seconds": fit_seconds,
        "engine": "spark",
        "master": session.sparkContext.master,
        "k": arguments.k,
        "split": {"kind": arguments.split, "by": arguments.by, "ratio": arguments.ratio, "seed": arguments.seed},
        "train_ratings": rows[0],
        "test_ratings": rows[1],
        "options": msgspec.structs.asdict(options),
    }
    if arguments.out:
        _write(model.userFactors, ids.users, f"{arguments.out}/user_factors")
        _write(model.itemFactors, ids.items, f"{arguments.out}/item_factors")
        line = session.createDataFrame([(json.dumps(report),)], "value string")
        line.coalesce(1).write.mode("overwrite").text(f"{arguments.out}/report.json")
    return report


def main() -> None:
    """Entry point: exit code 1 and one sentence on stderr for an error of the project's own."""
    arguments = _parser().parse_args()
    if arguments.package:
        print(packages_zip(Path(arguments.package)))
        return
    if not arguments.ratings:
        sys.exit("--ratings is missing; see --help")
    try:
        _options(arguments)
        with spark_session(
            arguments.master, checkpoints=arguments.checkpoints, driver_host=arguments.driver_host
        ) as session:
            print(json.dumps(run(arguments, session), indent=2))
    except (PenstockError, ValueError) as error:
        sys.exit(f"penstock: {error}")


def _options(arguments: argparse.Namespace) -> AlsOptions:
    given = {name: getattr(arguments, name) for name in ("factors", "regularization", "alpha", "iterations")}
    changes = {name: value for name, value in given.items() if value is not None}
    base = default_options("spark", arguments.objective)
    return msgspec.structs.replace(base, **changes, confidence=arguments.confidence, seed=arguments.als_seed)


def _write(factors: "DataFrame", ids: list[str], path: str) -> None:
    """Vectors by id; ids without a training rating are left out."""
    import pyarrow as pa
    from pyspark.sql import functions as sql

    names = factors.sparkSession.createDataFrame(
        pa.table({"place": pa.array(range(len(ids)), pa.int32()), "name": pa.array(ids, pa.string())})
    )
    named = factors.join(names, factors["id"] == names["place"])
    named.select(sql.col("name").alias("id"), "features").write.mode("overwrite").parquet(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="training.recommend.spark.job", description="ALS on Spark.")
    parser.add_argument("--ratings", help="path or URL that Spark reads")
    parser.add_argument("--columns", help="user=...,item=...,rating=...,ts=... of a CSV or Parquet file")
    parser.add_argument("--out", help="folder or URL for factors and report")
    parser.add_argument("--master", default=LOCAL, help="local[n] or the URL of a cluster; spark-submit's own wins")
    parser.add_argument("--checkpoints", help="folder or URL that driver and workers share")
    parser.add_argument("--driver-host", help="address at which workers reach this process")
    parser.add_argument("--split", default="stratified", choices=("random", "stratified", "chronological"))
    parser.add_argument("--by", choices=("user", "item", "all"))
    parser.add_argument("--ratio", type=float, default=0.75)
    parser.add_argument("--seed", type=int, default=42, help="of the split")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--objective", default="implicit", choices=("implicit", "explicit"))
    parser.add_argument("--confidence", default="ones", choices=("ones", "ratings"))
    parser.add_argument("--factors", type=int)
    parser.add_argument("--regularization", type=float)
    parser.add_argument("--alpha", type=float)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--als-seed", type=int, default=0)
    parser.add_argument("--package", metavar="FOLDER", help="write the zip for --py-files there, and end")
    return parser


if __name__ == "__main__":
    main()
