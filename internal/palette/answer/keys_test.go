package answer

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestKeyPageIsRead(t *testing.T) {
	for body, want := range map[string]*KeyPage{
		`{"items":[{"metadata":{"uid":"u","name":"n"},"status":{"isActive":true}}]}`: {Keys: []APIKey{{UID: "u", Name: "n", Active: true}}},
		`{"other":[{}],"items":null,"listmeta":{"continue":"more"}}`:                 {Next: "more"},
		`{"items":[`:                             nil,
		`{"items":[]`:                            nil,
		`{"items":`:                              nil,
		`{"items":7}`:                            nil,
		`{"items":[{]}`:                          nil,
		`{"items":[{"metadata":{"uid":".."}}]}`:  nil,
		`{"items":[],7}`:                         nil,
		`{"items":[],"listmeta":{"continue":7}}`: nil,
		`{"items":[]}{}`:                         nil,
		`{}`:                                     nil,
		`[]`:                                     nil,
		``:                                       nil,
	} {
		page := new(KeyPage)
		err := page.Read(strings.NewReader(body))
		if want == nil {
			assert.Error(t, err, body)
			continue
		}
		want.Size = len(body)
		assert.NoError(t, err, body)
		assert.Equal(t, want, page, body)
	}
}

func TestKeyExpiresAsSent(t *testing.T) {
	for later, want := range map[time.Duration]bool{-time.Nanosecond: false, 0: true, time.Second - time.Nanosecond: true, time.Second: false} {
		assert.Equal(t, want, APIKey{Expiry: epoch.Add(later)}.ExpiresAsSent(epoch), later)
	}
}
