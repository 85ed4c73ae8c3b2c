package exchange

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/ratelimit"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// What Palette counts as one is one: its calls, its clock, the failed logins of an account.
func TestSpellingsOfAnAccountAreCountedTogether(t *testing.T) {
	p := NewProcess()
	first := Account{"https://palette.example.com", "org", "vault@example.com", ""}
	for _, other := range []Account{
		{"https://palette.example.com:443", "org", "vault@example.com", ""},
		{"https://palette.example.com", "org", "Vault@Example.COM", ""},
		{"https://PALETTE.example.com:443", "org", " VAULT@example.com", ""},
	} {
		assert.Same(t, p.Logins(first), p.Logins(other), "%v", other)
		assert.Same(t, p.limitsOf(first.Address), p.limitsOf(other.Address), "%v", other)
		assert.Same(t, p.clock(first.Address), p.clock(other.Address), "%v", other)
	}
	admin := Account{"https://palette.example.com", "", "", "admin"}
	assert.Same(t, p.Logins(admin), p.Logins(Account{"https://palette.example.com:443", "", "", "Admin"}))
	for _, another := range []Account{admin, {"https://palette.example.com:8443", "org", "vault@example.com", ""}, {"https://palette.example.com", "Org", "vault@example.com", ""}, {"https://palette.example.com", "org", "vaul@example.com", ""}} {
		assert.NotSame(t, p.Logins(first), p.Logins(another), "%v", another)
	}
}

// nobody is an Observer who does nothing.
type nobody struct{}

func (nobody) Called(string, Outcome, time.Duration) {}
func (nobody) Waited(string, time.Duration, bool)    {}
func (nobody) Retried(string, Outcome)               {}
func (nobody) Queued(time.Duration, bool)            {}
func (nobody) Withheld()                             {}

// client is one that calls nobody.
func (p *Process) client(t *testing.T, conn transport.Connection) *Client {
	t.Helper()
	conn.Address = "https://palette.example.com"
	c, err := p.NewClient(conn, "a-test/1", nobody{})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// The lowest limit of those who call an address counts, until they close.
func TestRateLimitIsTheLowestOfThoseWhoCall(t *testing.T) {
	p := NewProcess()
	with := func(limit, burst int) *Client {
		return p.client(t, transport.Connection{RateLimit: limit, RateBurst: burst})
	}
	counts := func(c *Client, rate, burst int) {
		t.Helper()
		c.bucketOf(answer.RuleOf("user_info"))
		assert.Equal(t, ratelimit.Limit{Rate: rate, Burst: burst}, c.limits.Limit())
		assert.Equal(t, rate == 0, c.Unlimited())
	}
	ten, three, none := with(10, 0), with(3, 7), with(0, 0)
	counts(none, 0, 0)
	counts(ten, 10, 50)
	counts(three, 3, 7)
	counts(none, 3, 7)
	three.Close()
	counts(ten, 10, 50)
	counts(three, 10, 50) // what still goes out through it
	ten.Close()
	counts(none, 0, 0)
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewProcess().client(t, transport.Connection{})
		x := &exchange{Client: c, call: Call{Deadline: time.Now().Add(time.Hour)}, bucket: c.bucketOf(answer.RuleOf("revoke")), pause: time.Second}
		start := time.Now()
		require.NoError(t, x.turn(t.Context()))
		assert.Equal(t, time.Second, time.Since(start))

		ctx, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, hangUp)
		require.ErrorIs(t, x.turn(ctx), context.Canceled)
		assert.Equal(t, 3*time.Second/2, time.Since(start))
	})
}

func TestClockIsNotToldByOlderAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, at := new(clock), time.Now()
		time.Sleep(time.Minute)
		date := func(offset time.Duration) http.Header {
			return http.Header{"Date": {time.Now().Add(offset).UTC().Format(http.TimeFormat)}}
		}
		c.note(date(time.Hour), time.Now(), time.Now())
		c.note(date(0), at, at)
		offset, known := c.offset()
		assert.True(t, known)
		assert.Equal(t, time.Hour, offset)
		time.Sleep(time.Hour)
		offset, _ = c.offset()
		assert.Equal(t, time.Hour, offset, "the clocks go on")
	})
}

func TestCallThatCannotBeMade(t *testing.T) {
	c := NewProcess().client(t, transport.Connection{RequestTimeout: time.Second})
	for _, call := range []Call{{Method: http.MethodGet, Body: make(chan int)}, {Method: "two words"}} {
		call.Endpoint = "user_info"
		_, err := c.Do(t.Context(), call)
		assert.Equal(t, answer.Malformed, answer.KindOf(err), "%v", err)
	}
	_, err := NewProcess().NewClient(transport.Connection{Address: "https://palette.example.com", CACert: "none"}, "a-test/1", nobody{})
	var mistake *transport.FieldError
	require.ErrorAs(t, err, &mistake)
}

func TestAuthIsWherePaletteLooksForIt(t *testing.T) {
	for _, c := range []struct {
		auth       Auth
		token, key string
	}{{Auth{Token: "t"}, "t", ""}, {Auth{APIKey: "k"}, "", "k"}, {Auth{Token: "t", APIKey: "k"}, "t", ""}, {Auth{}, "", ""}} {
		h := http.Header{}
		c.auth.apply(h)
		assert.Equal(t, []string{c.token, c.key}, []string{h.Get("Authorization"), h.Get("ApiKey")})
	}
}
