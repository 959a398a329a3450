# What callers may do at the control plane. Everything that no rule here allows is refused.
#
# input.actor.kind    operator, or router and monitor: those two by their certificate
# input.actor.role    of an operator: viewer | operator | admin
# input.method, input.route
# input.force         whether a safeguard is to be left out
package wallet.control

default allow := false

# Routers learn who owns what, and nothing else.
allow if {
	input.actor.kind == "router"
	input.method == "GET"
	input.route == "/v1/placement"
}

allow if {
	input.actor.kind in {"router", "monitor"}
	input.method == "GET"
	input.route == "/metrics"
}

# Every operator looks.
allow if {
	input.actor.kind == "operator"
	input.method == "GET"
}

# Moving and creating customers; deploys, but for going on against their figures; verifying chains, which changes
# nothing and costs the cells' tables their capacity.
allow if {
	input.actor.kind == "operator"
	input.actor.role == "operator"
	not input.force
	input.method == "POST"
	operators_may
}

operators_may if input.route == "/v1/customers"

operators_may if startswith(input.route, "/v1/operations")

operators_may if startswith(input.route, "/v1/deploys")

operators_may if startswith(input.route, "/v1/ledger/")

operators_may if startswith(input.route, "/v1/wallets/")

operators_may if startswith(input.route, "/v1/zones/")

# Cells, and whatever leaves out a safeguard.
allow if {
	input.actor.kind == "operator"
	input.actor.role == "admin"
}
