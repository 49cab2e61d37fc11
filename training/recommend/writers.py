"""Ratings into files that `readers` and `items` read."""

import csv
from pathlib import Path

from models.recommend.generator import Generated
from training.recommend.items import ItemInfo, encode_items


def write_generated(made: Generated, path: Path) -> Path:
    """Write the ratings as CSV (`user,item,rating,ts`), and beside them their items; the path of the second file."""
    ratings = made.ratings
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("user", "item", "rating", "ts"))
        rows.writerows(
            (ratings.users[user], ratings.items[item], f"{value:g}", time_s)
            for user, item, value, time_s in zip(
                ratings.user.tolist(),
                ratings.item.tolist(),
                ratings.value.tolist(),
                ratings.time_s.tolist(),
                strict=True,
            )
        )
    described = path.with_name(f"{path.stem}.items.csv")
    facts = zip(ratings.items, made.titles, made.genres, strict=True)
    described.write_bytes(encode_items({item: ItemInfo(title, (genre,)) for item, title, genre in facts}))
    return described
