package answer

import (
	"maps"
	"slices"
)

// Endpoints are the calls that there are, as an observer hears of them.
var Endpoints = slices.Sorted(maps.Keys(rules))

// Resources are what Palette counts the calls of an IP address by, each apart (source: the table in the
// introduction of its API). They stand for /v1/auth/authenticate, /v1/auth, /v1/users and /v1/apiKeys,
// and an observer hears of them by these names.
var Resources = []string{"logins", "refreshes", "users", "api_keys"}

// Bucket is what a call is counted in: a resource or, for the creation of keys, a part of one.
type Bucket struct {
	Resource string
	Share    float64
}

var (
	logins = Bucket{"logins", 1}
	// refreshes are all of /v1/auth but /v1/auth/authenticate, and so the logins of system administrators too.
	refreshes = Bucket{"refreshes", 1}
	users     = Bucket{"users", 1}
	apiKeys   = Bucket{"api_keys", 1}
	// newKeys leave two of ten calls to the deletions and renewals of keys, so that these do not wait for
	// creations.
	newKeys = Bucket{"api_keys", 0.8}
)
