# What the pipeline does with a stack: cdk/scripts/apply and cdk/scripts/deploy themselves, with an `aws` that knows one
# cluster, this one. Sourced by scripts/check-cluster.

mkdir -p "$work/pipeline"
cat > "$work/pipeline/aws" << 'AWS'
#!/usr/bin/env bash
case "$1 $2" in
    'sts assume-role') echo id secret token ;;
    'eks update-kubeconfig') kubectl config view --kubeconfig "$HERE" --raw --flatten > "$KUBECONFIG" ;;
    'eks describe-cluster') printf 'https://%s.eks\t%s\n' "$4" "$(base64 -w 0 < "$CA")" ;;
    *) exit 2 ;;
esac
AWS
chmod +x "$work/pipeline/aws"

# SCRIPT FOLDER LOG ARGUMENT…
pipeline() {
    local targets target
    targets=$(sed -n 's/.*targetGroupARN: ${\(.*\)}/\1/p' "$2/bindings.yaml" | sort -u | tr '\n' ' ')
    for target in $targets; do
        export "$target=arn:aws:elasticloadbalancing:eu-west-1:300000000001:targetgroup/$target/0"
    done
    HERE=$KUBECONFIG PATH=$work/pipeline:$PATH CLUSTER=here ROLE=role TARGETS=$targets JOB_PERIOD=1 "cdk/scripts/$1" "$2" "${@:4}" > "$work/$3" 2>&1
}

# STACK: what operators put there, then all of it.
put_stack() {
    local kind name
    kubectl apply --server-side --validate=strict -f "$1/0-namespace.yaml" > /dev/null
    while IFS=/ read -r kind name; do
        case $kind in
            secret) wallet create secret generic "$name" --from-literal=token=none --from-literal=ca.crt=none ;;
            configmap) wallet create configmap "$name" ;;
        esac > /dev/null
    done < "$1/needs"
    pipeline apply "$1" apply.log || { cat "$work/apply.log" >&2; fail "$1 was not applied"; }
}

# STACK: all of it, by the words of the API server.
strictly() {
    local file
    for file in "$1"/*.yaml "$1"/*/*.yaml; do
        [ -e "$file" ] || continue
        sed 's/${[a-z0-9-]*\.authority}/bm9uZQ==/' "$file" |
            kubectl apply --server-side --dry-run=server --force-conflicts --validate=strict -f - || return 1
    done
}

# STACK COMPONENT PODS: applied once more, with another argument for its processes: they are replaced, and run the image that
# they ran.
keeps_its_images() {
    local before after component=$2 changed=$work/changed/$2
    before=$(images "$component")
    rm -rf "$work/changed" && mkdir "$work/changed" && cp -r "$1" "$changed"
    grep -q -- '--log-format=json' "$changed/$component.yaml" || fail "no argument to change"
    sed -i 's/--log-format=json/--log-format=text/' "$changed/$component.yaml"
    pipeline apply "$changed" apply.log || { cat "$work/apply.log" >&2; fail "$changed was not applied"; }
    after=$(images "$component")
    [ "$before" = "$after" ] || fail "applied again, ${component}s run $after, not $before"
    # Pods that are leaving are listed, too.
    [ "$(wallet get pods --selector "app.kubernetes.io/name=$component" --output yaml | grep -c -- '- --log-format=text')" = "$3" ] ||
        fail "what was changed in the manifests is not in the pods"
    ! grep -qF "$(head -n 1 <<< "$after")" "$1"/first/*.yaml || fail "the image was to be another than the first"
    echo "  applied again with other arguments: its pods are new, and their image is the one that ctl deploy brought"
}

# STACK: a control plane in the second Region runs nothing, also where it is applied again; once an operator has started it,
# as cdk/scripts/take-over does, being applied again does not stop it.
waits() {
    local processes=(--selector app.kubernetes.io/name=control-plane) step wanted is
    for step in created again started applied; do
        case $step in
            created) put_stack "$1" && wanted='0 0 0' ;;
            started) wallet scale deployment "${processes[@]}" --replicas 1 > /dev/null && wanted='1 1 1' ;;
            *) pipeline apply "$1" apply.log || { cat "$work/apply.log" >&2; fail "$1 was not applied"; } ;;
        esac
        all_available
        is=$(wallet get deployments "${processes[@]}" --output 'jsonpath={.items[*].spec.replicas}')
        [ "$is" = "$wanted" ] || fail "$(basename "$1"), $step: its zones have $is processes, not $wanted"
    done
    echo "$(basename "$1"): applied twice, it runs nothing; started and applied again, it runs in each zone"
}

# STACK: the jobs that ask for a version end as `ctl` does in their pods, which are played: by the version.
asks_for_a_version() {
    local stack=$work/asks/control-plane code version of
    for of in cells routers; do
        for version in 1.0.0=0 rolled-back=1 undecided=5; do
            rm -rf "$work/asks" && mkdir "$work/asks" && cp -r "$1" "$stack"
            sed -i "s/--version=1.0.0/--version=${version%=*}/" "$stack/deploy/$of.yaml"
            code=0
            pipeline deploy "$stack" deploy.log "$of" || code=$?
            [ "$code" = "${version#*=}" ] || { cat "$work/deploy.log" >&2; fail "the deploy of ${version%=*} of $of ended with $code"; }
        done
        [ "$(wallet get pods --selector "batch.kubernetes.io/job-name=deploy-$of" --no-headers | wc -l)" = 1 ] || fail "what ctl said was not its last word"
    done
    echo "  the jobs that ask for a version end as ctl does in their pods, with 0, 1 and 5"
}
