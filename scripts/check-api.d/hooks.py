"""Hooks of scripts/check-api: no request may last for ever, one that lasts is named, and none is in a hurry.

A followed stream of events is open for minutes, with a line every ten seconds, so that no timeout of a client ends it:
one such request, with the name of a cell that an earlier answer gave away, used up all the time of the check.

A request that passes its deadline of 100 ms while the machine is busy is answered 504, as it should be: that says nothing
about the service, so the deadlines of requests are raised to the default.
"""

import sys
import threading
import time

import schemathesis

# Longer than any deadline of a request, in seconds.
SLOW = 25.0
LOOK_EVERY = 5.0
DEADLINE_MS = 10_000

# What each thread of the check asks now: since when, and what.
_asking = {}


@schemathesis.hook
def before_call(context, case, kwargs):
    query = case.query or {}
    if case.path == "/api/v1/events" and str(query.get("follow", "")).lower() == "true":
        case.query = {**query, "follow": "false"}
    for name, value in list((case.headers or {}).items()):
        if name.lower() == "x-deadline-ms" and str(value).isascii() and str(value).isdigit():
            case.headers[name] = str(max(int(value), DEADLINE_MS))
    _asking[threading.get_ident()] = (time.monotonic(), f"{case.method} {case.path} {dict(case.query or {})}")


@schemathesis.hook
def after_call(context, case, response):
    _asking.pop(threading.get_ident(), None)


@schemathesis.hook
def after_network_error(context, case, request):
    _asking.pop(threading.get_ident(), None)


def _watch():
    shown = set()
    while True:
        time.sleep(LOOK_EVERY)
        for thread, (since, what) in list(_asking.items()):
            if time.monotonic() - since > SLOW and (thread, since) not in shown:
                shown.add((thread, since))
                print(f"no answer for {SLOW:.0f} s: {what}", file=sys.stderr, flush=True)


threading.Thread(target=_watch, daemon=True).start()
