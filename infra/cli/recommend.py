"""`penstock recommend`, `penstock similar` and `penstock variants`: what the running functions answer over HTTP."""

import http.client
import json
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import typer

from infra.cli import output
from infra.local.home import Home
from infra.local.runtime_ports import HOST
from models.contracts.recommendations import ItemList, Recommendations, RecommendedItem, VariantCounts
from models.errors import BadInput, ConfigurationError, NotFound, PenstockError, TryLater

_TIMEOUT_S: Final = 30.0
_ERRORS: Final[dict[int, type[PenstockError]]] = {400: BadInput, 404: NotFound, 503: TryLater}
_K = Annotated[int, typer.Option("--k", help="How many items.")]
_Genre = Annotated[str | None, typer.Option(help="Only items of this genre.")]
_Variant = Annotated[str | None, typer.Option(help="Ask this variant, whatever the user's share.")]


def recommend(
    user: Annotated[str, typer.Argument(help="Id of a user; one who is not known gets popular items.")],
    k: _K = 10,
    genre: _Genre = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave this item out (may be repeated).")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say which rated items speak for each.")] = False,
    variant: _Variant = None,
    page: Annotated[int, typer.Option(help="Which k items, from 1.")] = 1,
    as_json: output.AsJson = False,
) -> None:
    """Items for a user, none of them rated yet."""
    query = {"k": k, "page": page, "genre": genre, "variant": variant}
    if exclude:
        query["exclude"] = json.dumps(exclude)
    if explain:
        query["explain"] = "true"
    body = _ask("users", user, "recommendations", query)
    if as_json:
        output.print_json(body)
        return
    answer = _decoded(body, Recommendations)
    _show(answer.items)
    output.stdout.print(f"{answer.reason}, model {answer.model_version}, variant {answer.variant}")


def similar(
    item: Annotated[str, typer.Argument(help="Id of an item.")],
    k: _K = 10,
    genre: _Genre = None,
    variant: _Variant = None,
    as_json: output.AsJson = False,
) -> None:
    """Items that are like one."""
    body = _ask("items", item, "similar", {"k": k, "genre": genre, "variant": variant})
    if as_json:
        output.print_json(body)
        return
    answer = _decoded(body, ItemList)
    _show(answer.items)
    output.stdout.print(f"model {answer.model_version}, variant {answer.variant}")


def variants(as_json: output.AsJson = False) -> None:
    """Shares of the recommender's variants, and how often each answered."""
    body = _get("/api/variants")
    if as_json:
        output.print_json(body)
        return
    rows = [
        (each.variant, each.model, f"{each.share:.1%}", ", ".join(f"{name} {n}" for name, n in each.answers.items()))
        for each in _decoded(body, VariantCounts).variants
    ]
    output.stdout.print(output.table(("variant", "model", "users", "answers"), rows))


def _show(items: list[RecommendedItem]) -> None:
    rows = [
        (
            each.item,
            f"{each.score:.4g}",
            each.title,
            ", ".join(each.genres),
            "; ".join(reason.title or reason.item for reason in each.because or ()),
        )
        for each in items
    ]
    output.stdout.print(output.table(("item", "score", "title", "genres", "because"), rows))


def _ask(kind: str, id: str, what: str, query: dict[str, Any]) -> Any:
    """The body of a route about one user or item. An id with a slash goes in the query, as the routes have it."""
    parameters = {name: value for name, value in query.items() if value is not None}
    if "/" in id or id in (".", "..", "-"):
        parameters[kind[:-1]] = id
        id = "-"
    return _get(f"/api/{kind}/{quote(id, safe='')}/{what}?{urlencode(parameters)}")


def _get(path: str) -> Any:
    """The body that the functions of PENSTOCK_HOME answer. Raises the error that the status stands for."""
    home = Home.default()
    state = home.running()
    if state is None:
        raise ConfigurationError(f"Penstock does not run in {home.root}; start it: penstock up --detach")
    connection = http.client.HTTPConnection(HOST, state.ports["functions"], timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"x-functions-key": _key(home)})
        response = connection.getresponse()
        data = response.read()
    except OSError as error:
        raise TryLater(f"the functions do not answer ({error}); see penstock status") from error
    finally:
        connection.close()
    if response.status == 200:
        return json.loads(data)
    raise _ERRORS.get(response.status, PenstockError)(_reason(response.status, data))


def _key(home: Home) -> str:
    try:
        return str(json.loads((home.functions / "keys.json").read_text())["functionKeys"]["default"])
    except FileNotFoundError:
        return ""  # the other host (`penstock up --host func`) asks for none


def _reason(status: int, data: bytes) -> str:
    try:
        return str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the functions answered {status}; see penstock logs functions"


def _decoded(body: Any, kind: type[Any]) -> Any:
    import msgspec

    return msgspec.convert(body, kind)
