package simulation

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// systemLife is a life whose config "ci" logs in as a system administrator, named as the user of other lives is.
type systemLife struct {
	on bool
	// refused is what Palette refuses to the administrator's tokens, and with which status.
	refused map[palettetest.Endpoint]int
}

// newSystemLife throws dice of its own, so that the other lives of a seed stay what they are.
func newSystemLife(seed uint64) systemLife {
	r := rand.New(rand.NewPCG(seed, 0x5e5))
	l := systemLife{on: r.IntN(3) == 0, refused: make(map[palettetest.Endpoint]int)}
	for _, e := range []palettetest.Endpoint{palettetest.UserInfo, palettetest.Refresh, palettetest.Revoke} {
		if r.IntN(3) == 0 {
			l.refused[e] = pick(r, []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound})
		}
	}
	return l
}

func (l systemLife) String() string {
	text := "; config ci is a system administrator's"
	for _, e := range slices.Sorted(maps.Keys(l.refused)) {
		text += fmt.Sprintf(", refused %s with %d", e, l.refused[e])
	}
	return text
}

// has tells whether an account is the system administrator.
func (l systemLife) has(account string) bool { return l.on && account == accountsOf["ci"] }

// org is an account's organization: a system administrator has none.
func (l systemLife) org(account string) string {
	if l.has(account) {
		return ""
	}
	return orgName
}

// user is an account as Palette begins with it.
func (l systemLife) user(account string) palettetest.User {
	u := palettetest.User{Email: account, Org: orgName, Password: "Nobody-Knows-1-" + account}
	if l.has(account) {
		u.Email, u.Org, u.Username, u.PasswordReset = "", "", account, true
	}
	return u
}

// login makes the fields by which a config logs in those of the system administrator, where the account is that. What is
// refused beside them goes.
func (l systemLife) login(data map[string]any, account string) map[string]any {
	if l.has(account) {
		data["login_type"], data["username"] = "system", account
		for _, field := range []string{"email", "org", "rotation_period"} {
			delete(data, field)
		}
	}
	return data
}

// notRevoked excuses the tokens that Palette does not let a system administrator revoke: they die by themselves.
func (w *world) notRevoked(q *request, a *answer) {
	status, refuses := w.plan.system.refused[palettetest.Revoke]
	if q.endpoint != palettetest.Revoke || !refuses || a.foreign || a.status != status || decoded(a.body.Bytes(), "code") != "SystemAdministrator" {
		return
	}
	var asked struct {
		Tokens []string `json:"tokens"`
	}
	_ = json.Unmarshal(q.body, &asked)
	w.excuseIn(strings.Join(asked.Tokens, " "), "Palette does not revoke a system administrator's tokens")
}
