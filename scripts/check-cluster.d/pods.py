"""Follows the pods of namespace `wallet`, for scripts/check-cluster.

    pods.py count COMPONENT     a line for each change: how many pods of each zone are ready and stay
    pods.py balance             plays the load balancers: opens the gates of a pod two seconds after its process is up
    pods.py processes COMPONENT BUILDS CTL…   has the process of a local fleet that plays a zone of cell-1, a role in a zone
                                where roles are split, or a zone of the routers, run what the newest pod there runs; the
                                file BUILDS says for each image its version and program. There is a router for each of the
                                first two zones only

The server is given by SERVER, CA (a file) and TOKEN.
"""
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

TARGET_HEALTHY_SECONDS = 2
CONTEXT = ssl.create_default_context(cafile=os.environ["CA"])
PODS = "/api/v1/namespaces/wallet/pods"


def ask(path, body=None):
    headers = {"authorization": f"Bearer {os.environ['TOKEN']}"}
    if body is not None:
        headers["content-type"] = "application/strategic-merge-patch+json"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["SERVER"] + path, data, headers, method="PATCH" if body else "GET")
    return urllib.request.urlopen(request, context=CONTEXT, timeout=3600)


def follow():
    """Every state of every pod, the present ones first; None after them."""
    listed = json.load(ask(PODS))
    for pod in listed["items"]:
        yield "ADDED", pod
    yield "LISTED", None
    for line in ask(f"{PODS}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}&timeoutSeconds=3600"):
        event = json.loads(line)
        if event["type"] == "ERROR":
            sys.exit(f"the watch ended: {event['object']}")
        yield event["type"], event["object"]


def true_conditions(pod):
    return {one["type"] for one in pod["status"].get("conditions", []) if one["status"] == "True"}


def count(component):
    zones, began, said, listed = {}, time.monotonic(), None, False
    for kind, pod in follow():
        listed = listed or kind == "LISTED"
        if pod and pod["metadata"]["labels"].get("app.kubernetes.io/name") == component:
            meta = pod["metadata"]
            stays = "Ready" in true_conditions(pod) and "deletionTimestamp" not in meta and kind != "DELETED"
            ready = zones.setdefault(meta["labels"]["zone"], set())
            ready.add(meta["uid"]) if stays else ready.discard(meta["uid"])
        now = " ".join(f"{zone}={len(zones[zone])}" for zone in sorted(zones))
        if listed and now != said:
            print(f"{time.monotonic() - began:.1f} {now}", flush=True)
            said = now


def open_gates(meta, gates):
    conditions = [{"type": gate, "status": "True"} for gate in gates]
    try:
        ask(f"{PODS}/{meta['name']}/status", {"status": {"conditions": conditions}}).read()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise


def balance():
    under_way = set()
    for kind, pod in follow():
        if pod is None or kind == "DELETED" or "deletionTimestamp" in pod["metadata"]:
            continue
        true = true_conditions(pod)
        gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", [])]
        closed = [gate for gate in gates if gate not in true]
        if closed and "ContainersReady" in true and pod["metadata"]["uid"] not in under_way:
            under_way.add(pod["metadata"]["uid"])
            threading.Timer(TARGET_HEALTHY_SECONDS, open_gates, (pod["metadata"], closed)).start()


PLAYERS = {"cell": ["cell-1-a", "cell-1-b", "cell-1-c"], "router": ["router", "router-2"]}


def processes(component, builds, ctl):
    with open(builds) as file:
        builds = json.load(file)
    seen, players = set(), None
    for kind, pod in follow():
        if kind == "LISTED":
            players = dict(zip(sorted({zone for _, zone in seen}), PLAYERS[component]))
        if pod is None or pod["metadata"]["labels"].get("app.kubernetes.io/name") != component:
            continue
        meta, image = pod["metadata"], pod["spec"]["containers"][0]["image"]
        one = meta["uid"], meta["labels"]["zone"]
        role = meta["labels"].get("role")
        if one in seen or "ContainersReady" not in true_conditions(pod) or "deletionTimestamp" in meta:
            continue
        seen.add(one)
        if players and one[1] in players:
            version, program = builds[image]
            instance = players[one[1]]
            if role:
                instance = instance.replace("cell-1-", f"cell-1-{role}-")
            print(f"{instance} runs {version}", flush=True)
            subprocess.run([*ctl, "local", "replace", instance, "--version", version, "--binary", program], check=True)


if __name__ == "__main__":
    match sys.argv[1]:
        case "count":
            count(sys.argv[2])
        case "balance":
            balance()
        case "processes":
            processes(sys.argv[2], sys.argv[3], sys.argv[4:])
