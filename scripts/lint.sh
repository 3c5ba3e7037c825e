#!/bin/bash
# Vet, golangci-lint, known vulnerabilities, what deploy/kubernetes builds, shell
# scripts, the interface documents and the alerts: all of them, whatever the first
# ones find. What can't run here is named and does not count.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
read -ra modules <<<"$1"
export npm_config_update_notifier=false # npx
failed=()

# lint NAME COMMAND…
lint() {
	echo "lint: $1"
	"${@:2}" || failed+=("$1")
}
# tool prints where a program of tools/go.mod is, and builds it if need be.
tool() { GOWORK=off go -C tools tool -n "$1"; }

lint vet go vet -tags=contract,crash,compose "${modules[@]}"
golangci=$(tool golangci-lint) || exit 1
lint golangci-lint "$golangci" run "${modules[@]}"
# outside DIR COMMAND… runs it in a module that is not in the workspace.
outside() { (cd "$1" && GOWORK=off "${@:2}"); }
lint "golangci-lint of bench" outside bench "$golangci" run ./...

echo "lint: govulncheck"
govulncheck=$(tool govulncheck)
for dir in $(go list -m -f '{{.Dir}}'); do # it wants the folder of a module
	found=$("$govulncheck" -C "$dir" ./... 2>&1)
	case $? in
	0) ;;
	3) echo "$found" && failed+=(govulncheck) ;; # there are some
	*)
		echo "lint: govulncheck NOT RUN: $(grep -v '^$' <<<"$found" | tail -1)"
		break
		;;
	esac
done

# It has a good part of Kubernetes in it.
if missing=$(outside tools/manifests go list -deps -test ./... 2>&1 >/dev/null); then
	lint "manifests (the first time takes minutes)" outside tools/manifests go test -count=1 ./...
	lint "golangci-lint of manifests" outside tools/manifests "$golangci" run ./...
else
	echo "lint: manifests NOT RUN: $(tail -1 <<<"$missing")"
fi

scripts=$(git ls-files -co --exclude-standard '*.sh' .ci/run)
if command -v shellcheck >/dev/null; then
	# shellcheck disable=SC2086 # a list
	lint shellcheck shellcheck $scripts
else
	echo "lint: shellcheck NOT RUN: it is not installed"
fi

if command -v npx >/dev/null && npx --yes @redocly/cli@2.77.0 --version >/dev/null 2>&1; then
	for document in openapi asyncapi; do
		lint "$document.yaml" npx --yes @redocly/cli@2.77.0 lint "shared/api/$document.yaml"
	done
else
	echo "lint: openapi.yaml and asyncapi.yaml NOT RUN: no npx here, or it can't get @redocly/cli"
fi

if command -v promtool >/dev/null; then
	work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
	# The paths are those within the container.
	sed 's#/etc/prometheus/##' deploy/prometheus/prometheus.yml >"$work/prometheus.yml"
	cp deploy/prometheus/rules.yml "$work"
	lint prometheus.yml promtool check config "$work/prometheus.yml"
	lint rules_test.yml promtool test rules deploy/prometheus/rules_test.yml
	{ # the dashboard's queries, as if they were rules
		echo 'groups: [{name: dashboard, rules: ['
		sed 's/[$]__rate_interval/1m/g' deploy/grafana/dashboard.json |
			grep -oE '"expr": "([^"\\]|\\.)*"' | sed 's/.*/{record: query, &},/'
		echo ']}]'
	} >"$work/dashboard.yml"
	lint dashboard.json promtool check rules --lint=none "$work/dashboard.yml"
else
	echo "lint: prometheus.yml, rules.yml and dashboard.json NOT RUN: promtool is not installed"
fi

[ ${#failed[@]} = 0 ] && exit
echo "lint: failed: ${failed[*]}" >&2
exit 1
