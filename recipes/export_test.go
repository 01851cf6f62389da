package recipes

// ServerEndpoint is the test store, for the examples of package recipes_test.
var ServerEndpoint = serverEndpoint
