# `ctl deploy` brings versions to a cell of three zones, and to the routers of two: the control plane changes the Deployments
# of this API server. kwok plays the pods, so a process of a local fleet runs what the pods of its zone would run. Sourced by
# scripts/check-cluster.

# COMPONENT FLAG…: of a cell, or of the routers, beside a fleet with these flags: a version that is sound; an image that never
# starts; and, if scripts/builds/bad-version has made one, a version that fails customers.
deploys() {
    local component=$1 registry old ctl mine=() brought=("${zones[@]}") each=1
    # A local fleet has two routers at most.
    [ "$component" = cell ] || brought=("${zones[@]:0:2}") each=2
    [ "${2-}" != --split-roles ] || each=2
    old=$(images "$component" | sort -u)
    registry=${old%@*}
    sound=$registry@sha256:$(printf '6%.0s' {1..64})
    failing=$registry@sha256:$(printf '7%.0s' {1..64})
    stuck=$registry@sha256:$(printf '0%.0s' {1..61})bad
    # Kubernetes waits ten minutes for a pod before it says so.
    for name in $(wallet get deployments --selector "app.kubernetes.io/name=$component" --output name); do
        wallet patch "$name" --patch '{"spec":{"progressDeadlineSeconds":20}}' > /dev/null
    done

    ctl=(target/debug/ctl --data "$work/fleet" --reason check --actor check)
    local version
    version=$("target/debug/$component" --version | cut -d ' ' -f 2)
    printf '[deployment]\nname = "check"\nnamespace = "6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10"\nregion = "eu-west-1"\nzones = [%s]\n[[cells]]\nid = "cell-1"\n' \
        "$(printf '"%s", ' "${zones[@]}")" > "$work/cells.toml"
    echo "$versions_token" > "$work/token"
    local cluster images
    cluster="{ \"server\": \"$SERVER\", \"certificateAuthority\": \"$CA\", \"credentials\": { \"tokenFile\": \"$work/token\" } }"
    images="{ \"$version\": \"$old\", \"sound\": \"$sound\", \"failing\": \"$failing\", \"stuck\": \"$stuck\" }"
    case $component in
        cell) echo "{ \"images\": $images, \"clusters\": { \"cell-1\": $cluster } }" ;;
        router) echo "{ \"images\": {}, \"clusters\": {}, \"routers\": { \"images\": $images, \"cluster\": $cluster } }" ;;
    esac > "$work/clusters.json"
    local bad=target/bad-versions/debug/$component
    [ -x "$bad" ] || bad=
    cat > "$work/builds.json" << JSON
{ "$old": ["$version", "target/debug/$component"], "$sound": ["sound", "target/debug/$component"], "$failing": ["failing", "$bad"] }
JSON
    local port
    port=$(free_block)
    : > "$work/fleet.log"
    CELL_BAD=withdrawals CONTROL_PLANE_DEPLOY_KUBERNETES=$work/clusters.json CONTROL_PLANE_CANARY_PAUSE_MS=100 \
        start fleet "${ctl[@]}" up --config "$work/cells.toml" --instances 3 --routers 2 --port "$port" --max-tps 0 --canaries --fresh "${@:2}"
    mine+=("${pids[-1]}")
    for _ in {1..300}; do grep -q 'try, in another terminal' "$work/fleet.log" && break; sleep 0.2; done
    start processes python3 "$source/pods.py" processes "$component" "$work/builds.json" "${ctl[@]}"
    mine+=("${pids[-1]}")
    # At both routers. Nothing is before them in a local fleet; what meets a restart was not connected, and counts nowhere.
    for router in "$port" "$((port + 6))"; do
        start "load-$router" timeout 1000 "${ctl[@]}" load --router "http://127.0.0.1:$router" --rate 60 --duration 900s \
            --mix deposits:50,withdrawals:50
        mine+=("${pids[-1]}")
    done
    sleep 5

    deploy sound 0
    [ "$(images "$component" "${brought[@]}" | sort -u)" = "$sound" ] || fail "not every zone has the sound image"
    deploy stuck 1
    [ "$(images "$component" "${brought[@]}" | sort -u)" = "$sound" ] || fail "the image that never starts was not taken back"
    [ "$(wallet get replicasets --output wide | grep -c "$stuck")" = 1 ] || fail "the image that never starts came to a second zone"
    if [ -n "$bad" ]; then
        deploy failing 1
        [ "$(images "$component" "${brought[@]}" | sort -u)" = "$sound" ] || fail "the version that fails was not taken back"
    else
        echo "  SKIPPED: no version that fails; scripts/builds/bad-version makes it"
    fi
    for ((i = ${#mine[@]} - 1; i >= 0; i--)); do
        kill "${mine[i]}" 2> /dev/null && wait "${mine[i]}" 2> /dev/null || true
    done
}

# What the control plane's group may patch: the image, and nothing else. Each of these is one patch; nothing is changed.
only_the_image() {
    local component=$1 name refused=0 what said
    name=deployment/$(wallet get deployments --selector "app.kubernetes.io/name=$component" --output 'jsonpath={.items[0].metadata.name}')
    patched() { wallet --token "$versions_token" patch "$name" --dry-run=server --patch "$1" 2>&1; }
    said=$(patched "{\"metadata\":{\"annotations\":{\"wallet/order\":\"1\"}},\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"$component\",\"image\":\"$component@sha256:$(printf '5%.0s' {1..64})\"}]}}}}") ||
        fail "the image may not be changed: $said"
    for what in \
        '{"metadata":{"labels":{"zone":"other"}}}' \
        '{"metadata":{"annotations":{"other":"1"}}}' \
        '{"metadata":{"finalizers":["other/one"]}}' \
        '{"spec":{"replicas":0}}' \
        '{"spec":{"paused":true}}' \
        '{"spec":{"template":{"metadata":{"annotations":{"other":"1"}}}}}' \
        '{"spec":{"template":{"spec":{"serviceAccountName":"other"}}}}' \
        '{"spec":{"template":{"spec":{"volumes":[{"name":"other","emptyDir":{}}]}}}}' \
        '{"spec":{"template":{"spec":{"containers":[{"name":"'$component'","env":[{"name":"OTHER","value":"1"}]}]}}}}' \
        '{"spec":{"template":{"spec":{"containers":[{"name":"'$component'","args":["other"]}]}}}}' \
        '{"spec":{"template":{"spec":{"containers":[{"name":"other","image":"other"}]}}}}'; do
        ! said=$(patched "$what") || fail "$name takes $what from the control plane"
        [[ $said == *"wallet-versions may change the image of $component and wallet/order: it must not change "* ]] ||
            fail "$what is refused for another reason: $said"
        refused=$((refused + 1))
    done
    wallet patch "$name" --dry-run=server --patch '{"spec":{"paused":true}}' > /dev/null || fail "others may not change $name"
    echo "  the control plane may change the image; $refused other patches of it are refused"
}

# VERSION CODE: from its start to its end.
deploy() {
    local code=0 began=$SECONDS
    count "$component"
    timeout 500 "${ctl[@]}" deploy start --of "${component}s" --version "$1" --yes --baseline-seconds 30 --bake-seconds 20 --wait-seconds 200 --rise-percent 2 \
        --slower-by-ms 10000 > "$work/deploy-$1.log" 2>&1 || code=$?
    counted "ctl deploy, $1" "${zones[*]}" "$each" "$((each * ${#zones[@]}))"
    [ "$code" = "$2" ] || { cat "$work/deploy-$1.log" >&2; tail -n 20 "$work/processes.log" >&2; fail "the deploy of $1 ended with $code"; }
    grep -E '^why' "$work/deploy-$1.log" | tail -n 1 | sed 's/^why */    /' || true
    echo "    ended as it should after $((SECONDS - began)) s"
}

# The first of some ports that nothing uses.
free_block() {
    python3 -c '
import random, socket
for _ in range(50):
    first = random.randrange(180, 300) * 100
    try:
        [socket.create_server(("127.0.0.1", first + n)).close() for n in range(60)]
    except OSError:
        continue
    print(first)
    break'
}
