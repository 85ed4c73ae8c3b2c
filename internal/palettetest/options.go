package palettetest

import "time"

// RevokeScope says what a revocation ends. Palette's documentation doesn't tell, so tests run with both.
type RevokeScope int

const (
	// ByToken ends the tokens that the call names and nothing else.
	ByToken RevokeScope = iota
	// BySession ends the sessions of the tokens that the call names, with all their tokens.
	BySession
)

const (
	// DefaultLifetime is how long a token lives where a tenant administrator changed nothing.
	// Source: Palette's page "Authorization Token".
	DefaultLifetime = 15 * time.Minute
	// LockoutTime is how long five failed logins suspend an account. Source: Palette's system administrator guide.
	LockoutTime = 15 * time.Minute
	// LockoutFailures is how many failed logins suspend an account. Source: as LockoutTime.
	LockoutFailures = 5
	// PublishedKeyLimit is how many API keys a user may have where an administrator changed nothing.
	// Source: Palette's resource limits of a tenant.
	PublishedKeyLimit = 20
	// PageSize is how many items a list has at most. Source: the introduction of Palette's API.
	PageSize = 50
)

// User is an account at the stand-in. Email and Org together name it. A system administrator has a Username instead of
// both; methods that take an email and an organization take it as the email, with no organization.
type User struct {
	Email, Org, Password, Username string
	// PasswordReset: a system administrator's login answers IsPasswordReset. Passkey: it is refused.
	PasswordReset, Passkey bool
	// MFA: a login answers isMfa and a token that opens nothing.
	MFA bool
	// TenantAdmin: may manage the API keys of every user of its organization.
	TenantAdmin bool
	// UID is made up when empty.
	UID string
}

// DefaultUser is the one account of a stand-in that was given none.
var DefaultUser = User{Email: "vault@example.com", Org: "example", Password: "Correct-Horse-7-Battery"}

type settings struct {
	inMemory                   bool
	address                    string
	tls                        bool
	tlsNames                   []string
	clientCA                   []byte
	lifetime                   time.Duration
	sessionTimeout             time.Duration
	revokeScope                RevokeScope
	noRevoke                   bool
	strictRevoke               bool
	passwordChangeEndsSessions bool
	passwordChangeNeedsAuth    bool
	lockout                    bool
	latency                    time.Duration
	rateLimit, burst           int
	retryAfter                 time.Duration
	keyLimit, pageSize         int
	lag                        Lag
	users                      []User
	systemRefusals             map[Endpoint]int
	allowLive                  bool
}

// Option changes what New and Start build.
type Option func(*settings)

// WithAddress listens on the TCP address given, and not on a free port of 127.0.0.1.
func WithAddress(address string) Option { return func(s *settings) { s.address = address } }

// WithTLS serves HTTPS (HTTP/2 too) with a certificate of the stand-in's own authority, see Server.CA. Without names
// the certificate is for 127.0.0.1, ::1, localhost and palette.example.com.
func WithTLS(names ...string) Option {
	return func(s *settings) { s.tls, s.tlsNames = true, names }
}

// WithClientCA serves HTTPS to clients alone that show a certificate by one of the authorities in pem.
// Authority makes such certificates.
func WithClientCA(pem []byte) Option {
	return func(s *settings) { s.tls, s.clientCA = true, pem }
}

// WithLifetime sets the life of a token, in whole seconds; DefaultLifetime otherwise.
func WithLifetime(d time.Duration) Option { return func(s *settings) { s.lifetime = d } }

// WithSessionTimeout refuses a refresh later than d after the login. Without it a session has no end of its own.
func WithSessionTimeout(d time.Duration) Option { return func(s *settings) { s.sessionTimeout = d } }

// WithRevokeScope sets what a revocation ends; ByToken otherwise.
func WithRevokeScope(scope RevokeScope) Option { return func(s *settings) { s.revokeScope = scope } }

// WithoutRevoke answers revocations 404, as a Palette too old for the endpoint does.
func WithoutRevoke() Option { return func(s *settings) { s.noRevoke = true } }

// WithStrictRevoke refuses a whole revocation with 400 when one of its tokens is unknown or no longer alive.
// Otherwise such tokens are passed over.
func WithStrictRevoke() Option { return func(s *settings) { s.strictRevoke = true } }

// WithPasswordChangeEndsSessions ends every session of the user whose password changes. Otherwise they go on.
func WithPasswordChangeEndsSessions() Option {
	return func(s *settings) { s.passwordChangeEndsSessions = true }
}

// WithPasswordChangeNeedsAuth answers a password change without an Authorization or ApiKey header 401. Otherwise it
// is taken with one or without.
func WithPasswordChangeNeedsAuth() Option {
	return func(s *settings) { s.passwordChangeNeedsAuth = true }
}

// WithLockout suspends an account for LockoutTime after LockoutFailures failed logins within that time.
func WithLockout() Option { return func(s *settings) { s.lockout = true } }

// WithLatency answers each call that much later.
func WithLatency(d time.Duration) Option { return func(s *settings) { s.latency = d } }

// WithRateLimit answers 429 to calls of a resource (logins, refreshes, users, API keys, projects) beyond its bucket,
// which holds BurstFactor times perSecond calls and fills with perSecond; 0 is no limit. PublishedRate is Palette's.
func WithRateLimit(perSecond int) Option { return func(s *settings) { s.rateLimit = perSecond } }

// WithRetryAfter gives the 429 of a rate limit a Retry-After, in whole seconds. Palette documents none.
func WithRetryAfter(d time.Duration) Option { return func(s *settings) { s.retryAfter = d } }

// WithKeyLimit bounds the API keys of a user, expired ones included; 0 is no limit. Source: Palette's resource limits of
// a tenant, which is 20 (PublishedKeyLimit). That expired keys count is an assumption, as is the error's status.
func WithKeyLimit(n int) Option { return func(s *settings) { s.keyLimit = n } }

// WithPageSize bounds the items of a list's page; PageSize otherwise. 0 is PageSize.
func WithPageSize(n int) Option { return func(s *settings) { s.pageSize = n } }

// WithUser adds an account; several may be given. DefaultUser exists only where none is given.
func WithUser(u User) Option { return func(s *settings) { s.users = append(s.users, u) } }

// AllowLiveTokens lets a test end with tokens and API keys alive.
func AllowLiveTokens() Option { return func(s *settings) { s.allowLive = true } }
