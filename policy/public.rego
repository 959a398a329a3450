# What callers may do through the router. Everything that no rule here allows is refused.
#
# input.actor.kind    customer | service | operator
# input.actor.scopes  of a service: what its token says that it may do
# input.actor.role    of an operator: viewer | operator | admin
# input.method, input.route   `{id}` and the like stand for ids
# input.own           whether the wallet that is read, or that money leaves, is the actor's own
#
# The policy sees no names and no ids: what it says is remembered for all callers of one kind with the same rights.
package wallet.public

default allow := false

# A customer reads his own wallet, and moves money out of it. Money comes in only from services (payment processors),
# which have taken it from somewhere; and only they end a hold, since that is what a hold promises a merchant.
allow if {
	input.actor.kind == "customer"
	input.own
	[input.method, input.route] in customer_routes
}

customer_routes := {
	["GET", "/api/v1/wallets"],
	["POST", "/api/v1/wallets"],
	["GET", "/api/v1/wallets/{id}"],
	["GET", "/api/v1/wallets/{id}/balance/historical"],
	["GET", "/api/v1/wallets/{id}/transactions"],
	["GET", "/api/v1/wallets/{id}/statement"],
	["GET", "/api/v1/wallets/{id}/proof"],
	["GET", "/api/v1/wallets/{id}/transfers/{transfer}"],
	["GET", "/api/v1/wallets/{id}/holds"],
	["POST", "/api/v1/wallets/{id}/withdraw"],
	["POST", "/api/v1/wallets/transfer"],
	["POST", "/api/v1/wallets/{id}/holds"],
}

# A service does what its scopes say, to any wallet.
allow if {
	input.actor.kind == "service"
	some scope in input.actor.scopes
	[input.method, input.route] in service_routes[scope]
}

service_routes := {
	"wallets:create": {["POST", "/api/v1/wallets"]},
	"wallets:read": {
		["GET", "/api/v1/wallets"],
		["GET", "/api/v1/wallets/{id}"],
		["GET", "/api/v1/wallets/{id}/balance/historical"],
		["GET", "/api/v1/wallets/{id}/transactions"],
		["GET", "/api/v1/wallets/{id}/statement"],
		["GET", "/api/v1/wallets/{id}/proof"],
		["GET", "/api/v1/wallets/{id}/transfers/{transfer}"],
		["GET", "/api/v1/wallets/{id}/holds"],
	},
	"events:read": {["GET", "/api/v1/events"]},
	"deposit": {["POST", "/api/v1/wallets/{id}/deposit"]},
	"withdraw": {["POST", "/api/v1/wallets/{id}/withdraw"]},
	"transfer": {["POST", "/api/v1/wallets/transfer"]},
	"hold": {
		["POST", "/api/v1/wallets/{id}/holds"],
		["POST", "/api/v1/wallets/{id}/holds/{hold}/capture"],
		["POST", "/api/v1/wallets/{id}/holds/{hold}/void"],
	},
	"reverse": {["POST", "/api/v1/wallets/{id}/transactions/{transaction}/reverse"]},
	"batch": {
		["POST", "/api/v1/wallets/{id}/transactions:batch"],
		["POST", "/api/v1/wallets/{id}/transfers:batch"],
	},
}

# An operator looks; no operator of machines moves money by that right.
allow if {
	input.actor.kind == "operator"
	input.method == "GET"
	[input.method, input.route] in operator_routes
}

operator_routes := service_routes["wallets:read"] | service_routes["events:read"]
