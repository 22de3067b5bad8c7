// Package admin is the operator's door: health, metrics and a REST API.
//
// [New] makes a handler for the admin listener. /healthz, /readyz and /metrics
// are open to whoever reaches that listener; everything under /api/ needs the
// bearer token, on loopback too, and is refused before it is routed. Routes
// are one table (routes.go), matched exactly. A request whose Host is a name
// that nobody configured (DNS rebinding) or that carries an Origin (a web
// page) is refused, and there is no CORS.
//
// The package reads through a [Store] and changes nothing by itself: changes
// go through an [Engine], with the operator as the actor. The types in its
// answers are exported, because the command line reads them.
//
// [Metrics] is independent of the handler: the application makes one, hands
// its methods to the parts as hooks, and passes it to New to be served.
package admin
