package palettetest

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
)

// apiError is the OpenAPI document's v1Error.
type apiError struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Ref     string         `json:"ref"`
	Details map[string]any `json:"details"`
}

// answer is what a call gets; body is sent as JSON unless nil.
type answer struct {
	status int
	header http.Header
	cookie *http.Cookie
	body   any
}

func ok(status int, body any) answer { return answer{status: status, body: body} }

// fail makes an error answer. The codes are assumptions: Palette publishes none.
func fail(status int, code, message string) answer {
	return answer{status: status, body: apiError{Code: code, Message: message, Ref: newID(), Details: map[string]any{}}}
}

func unauthorized(message string) *answer {
	a := fail(http.StatusUnauthorized, "Unauthorized", message)
	return &a
}

func badRequest(message string) answer { return fail(http.StatusBadRequest, "InvalidRequest", message) }

// newID makes an identifier in the form of Palette's: 24 hexadecimal digits.
func newID() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}
