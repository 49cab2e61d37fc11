"""`$cbs`: where clients put the tokens that say what they may do."""

from __future__ import annotations

from .requests import ACCEPTED, BAD_REQUEST, UNAUTHORIZED, Answer, Request, RequestLink
from .tokens import TokenRefused

NODE = "$cbs"


class TokenLink(RequestLink):
    """Takes put-token requests. A token that is refused leaves earlier ones in force."""

    node = NODE

    def handle_request(self, request: Request) -> Answer:
        """Whether the token is accepted."""
        if request.properties.get("operation") != "put-token" or not isinstance(request.body, str):
            return Answer(BAD_REQUEST, "expected a put-token with the token as a string")
        try:
            self.session.connection.access.put_token(request.body)
        except TokenRefused as error:
            # Without an error condition: given one, the Python SDK shows neither status nor description.
            return Answer(UNAUTHORIZED, str(error))
        return Answer(ACCEPTED, "Accepted")
