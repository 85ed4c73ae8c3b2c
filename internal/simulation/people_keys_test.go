package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// keyPeopleDice are what people do about the limit of keys, spellings, the way to Palette, and what
// clients add to their reads.
var keyPeopleDice = []die{
	{"name a limit of keys", 1, func(r *rand.Rand) step {
		return askStep(logical.UpdateOperation, "config/"+configName(r), map[string]any{"key_limit": pick(r, []int{0, 3, 20})}, 0)
	}},
	{"spell an email otherwise", 1, func(r *rand.Rand) step {
		name, capitals := pick(r, []string{"default", "ci"}), r.IntN(2) == 0
		return step{who: "people", what: fmt.Sprintf("spell the email of config/%s otherwise (in capitals: %t)", name, capitals), do: func(w *world) string {
			email := accountsOf[name]
			if capitals {
				email = strings.ToUpper(email)
			}
			_, outcome := w.ask(logical.UpdateOperation, "config/"+name, map[string]any{"email": email}, 0)
			return outcome
		}}
	}},
	{"write the trust", 1, func(r *rand.Rand) step {
		return askStep(logical.UpdateOperation, "trust/"+configName(r), map[string]any{"tls_server_name": pick(r, []string{"", "palette.example.com"})}, perhaps(r, hangUp(r)))
	}},
	{"read with a parameter that is nobody's", 1, func(r *rand.Rand) step {
		return askStep(logical.ReadOperation, pick(r, []string{"config/", "roles/", "check/"})+pick(r, []string{"default", "keys"}), map[string]any{"version": "-1"}, 0)
	}},
	{"read the metrics", 1, func(*rand.Rand) step { return askStep(logical.ReadOperation, "metrics", nil, 0) }},
}
