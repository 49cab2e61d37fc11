"""Retry policies of functions (`@app.retry`), which Azure supports for timers."""

from __future__ import annotations

import asyncio

from infra.local.functions_host.bindings import IndexedFunction
from infra.local.functions_host.context import Retry
from infra.local.functions_host.invocation import Invoker, Outcome, Trigger
from infra.local.functions_host.pacing import pause


async def invoke_with_retries(
    invoker: Invoker, function: IndexedFunction, trigger: Trigger, stopping: asyncio.Event
) -> Outcome:
    """The first good outcome, or the last one that the policy allows; retries end when `stopping` is set.

    The count lives in memory, as in Azure: a restarted host counts from zero.
    """
    outcome = await invoker.invoke(function, trigger)
    policy = function.retry
    if policy is None:
        return outcome
    count = 0
    while outcome.error is not None and (policy.max_retries == -1 or count < policy.max_retries):
        count += 1
        await pause(policy.delay(count).total_seconds(), stopping)
        if stopping.is_set():
            break
        outcome = await invoker.invoke(function, trigger, Retry.after(outcome.error, count, policy.max_retries))
    return outcome
