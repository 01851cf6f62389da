package conformance

// groups are all the bodies, by what they need of a cluster.
var groups = []*group{
	{name: "kv", bodies: slicesOf(putBodies, rangeBodies, deleteBodies, txnBodies, compactBodies)},
	{name: "watch", bodies: watchBodies},
	{name: "lease", bodies: leaseBodies},
	{name: "maintenance", bodies: maintenanceBodies},
	{name: "quota", flags: []string{"--quota-backend-bytes", "16777216"}, bodies: quotaBodies},
	{name: "cluster", size: 3, bodies: clusterBodies},
	{name: "auth", bodies: authBodies},
	{name: "gateway", bodies: gatewayBodies},
	{name: "health", bodies: healthBodies},
}

func slicesOf(all ...[]body) []body {
	var joined []body
	for _, bodies := range all {
		joined = append(joined, bodies...)
	}
	return joined
}
