"""How every HTTP function answers: a body as JSON, and errors as the status that tells the caller what to do."""

import logging
import math
from collections.abc import Callable
from typing import Final

import azure.functions as func

from models.errors import BadInput, ConfigurationError, Damaged, NotFound, TooMany, TryLater

log = logging.getLogger(__name__)

_JSON: Final = "application/json"


def answer(query: Callable[[], object], *, status: int = 200) -> func.HttpResponse:
    """The result of `query` as JSON: `status`, or 503 if it says that it is not `ok`; our errors as 4xx or 5xx."""
    import msgspec

    try:
        body = query()
    except BadInput as error:
        return _error(400, error)
    except NotFound as error:
        return _error(404, error)
    except TryLater as error:
        failed = 429 if isinstance(error, TooMany) else 503
        return _error(failed, error, {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))})
    except (ConfigurationError, Damaged) as error:
        log.error("%s", error)
        return _error(500, error)
    code = status if getattr(body, "ok", True) else 503
    return func.HttpResponse(msgspec.json.encode(body), status_code=code, mimetype=_JSON)


def query_of(req: func.HttpRequest) -> dict[str, str]:
    """The parameters of a request, with those that are empty, which hosts leave out: `?k=` is not `k` left out."""
    from urllib.parse import parse_qsl, urlsplit

    named = dict(parse_qsl(urlsplit(req.url).query, keep_blank_values=True))
    return {**{name: text for name, text in named.items() if not text}, **req.params}


def _error(status: int, error: Exception, headers: dict[str, str] | None = None) -> func.HttpResponse:
    import msgspec

    body = msgspec.json.encode({"error": str(error)})
    return func.HttpResponse(body, status_code=status, mimetype=_JSON, headers=headers)
