package exchange

import (
	"net/http"

	"vault-plugin-secrets-palette/internal/palette/secret"
)

// Auth is how a call authenticates: by an authorization token or by an API key. Token
// counts where both are set; neither is a call without authentication.
type Auth struct {
	Token, APIKey secret.Text
}

// apply puts the credentials where Palette looks for them.
func (a Auth) apply(header http.Header) {
	switch {
	case a.Token != "":
		header.Set("Authorization", a.Token.Reveal()) // no "Bearer": Palette's form
	case a.APIKey != "":
		header.Set("ApiKey", a.APIKey.Reveal())
	}
}
