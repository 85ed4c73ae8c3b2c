package palettesecrets

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestSessionIsShownWithoutItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sharing(t)
		assert.Nil(t, w.read("sessions/default"))
		assert.Empty(t, w.list("sessions/"))
		w.creds("many")
		time.Sleep(6 * time.Minute)
		w.creds("many")
		assert.Equal(t, fields{
			"issued_at": epoch.Format(time.RFC3339), "expires_at": epoch.Add(21 * time.Minute).Format(time.RFC3339), "refreshes": 1,
			"address": w.palette.URL(), "org": "example", "email": "vault@example.com", "username": "",
		}, w.read("sessions/default").Data)
		assert.Equal(t, []string{"default"}, w.list("sessions/"))
		w.remove("sessions/default")
		w.remove("sessions/default") // one that is not there is no error
		assert.Nil(t, w.read("sessions/default"))
	})
}
