package palettetest

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// passwordLength is the least number of characters. Source: Palette's system administrator guide, password policy.
const passwordLength = 14

type passwordRequest struct {
	EmailID         string `json:"emailId"`
	CurrentPassword string `json:"currentPassword"`
	NewPassword     string `json:"newPassword"`
}

// changePassword is PATCH /v1/users/password/change. Whether Palette wants it authenticated is not known, see
// WithPasswordChangeNeedsAuth; credentials that are sent must be good in either case.
func (s *Server) changePassword(c *call) answer {
	var request passwordRequest
	if refusal := c.decode(&request); refusal != nil {
		return *refusal
	}
	if request.EmailID == "" || request.CurrentPassword == "" || request.NewPassword == "" {
		return badRequest("emailId, currentPassword and newPassword are required")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, refusal := s.passwordOwner(c, request)
	if refusal != nil {
		return *refusal
	}
	if request.NewPassword == request.CurrentPassword {
		return fail(http.StatusBadRequest, "PasswordReused", "the new password must differ from the current one")
	}
	if !meetsPolicy(request.NewPassword) {
		return fail(http.StatusBadRequest, "PasswordPolicyViolation", "the new password does not meet the policy: "+
			"14 characters, an upper case letter, a lower case letter, a digit and a special character")
	}
	s.changePasswordOf(u, request.NewPassword)
	if s.opts.passwordChangeEndsSessions {
		for _, t := range s.state.tokens {
			if t.session.user == u {
				t.session.ended = true
			}
		}
	}
	return ok(http.StatusNoContent, nil)
}

// passwordOwner finds whose password changes: the body names no organization, so where the same email is in several
// the credentials of the call or else the current password tell (assumption).
func (s *Server) passwordOwner(c *call, request passwordRequest) (*user, *answer) {
	refuse := func(status int, code, message string) (*user, *answer) {
		a := fail(status, code, message)
		return nil, &a
	}
	candidates := s.state.withEmail(request.EmailID)
	if s.opts.passwordChangeNeedsAuth || c.Header.Get("Authorization") != "" || c.Header.Get("ApiKey") != "" {
		u, refusal := s.caller(c)
		if refusal != nil {
			return nil, refusal
		}
		if !strings.EqualFold(u.Email, request.EmailID) {
			return refuse(http.StatusForbidden, "OperationForbidden", "the password is another user's")
		}
		candidates = []*user{u}
	}
	var matching []*user
	for _, u := range candidates {
		if u.Password == request.CurrentPassword {
			matching = append(matching, u)
		}
	}
	switch len(matching) {
	case 0:
		return refuse(http.StatusBadRequest, "InvalidCurrentPassword", "the email or the current password is wrong")
	case 1:
		return matching[0], nil
	}
	return refuse(http.StatusBadRequest, "AmbiguousUser", "the user is in several organizations")
}

// meetsPolicy: 14 characters of all four classes. Source: as passwordLength.
func meetsPolicy(password string) bool {
	has := func(is func(rune) bool) bool { return strings.ContainsFunc(password, is) }
	special := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsSpace(r) }
	return utf8.RuneCountInString(password) >= passwordLength &&
		has(unicode.IsUpper) && has(unicode.IsLower) && has(unicode.IsDigit) && has(special)
}
