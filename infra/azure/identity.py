"""The identity of this process in Microsoft Entra: managed in Azure, that of `az login` on a developer's machine."""

from functools import cache
from typing import Any


@cache
def identity() -> Any:
    """A credential for clients of the SDK, one per process; a token is asked for when a client first needs one."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
