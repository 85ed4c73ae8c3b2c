package revocation

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/store"
)

func TestBatchTakesWholeLeases(t *testing.T) {
	for _, c := range []struct {
		tokens []int
		want   int
	}{{nil, 0}, {[]int{1}, 1}, {[]int{8, 92}, 2}, {[]int{8, 93}, 1}, {[]int{200, 1}, 1}} {
		var waiting []*request
		for _, n := range c.tokens {
			waiting = append(waiting, &request{tokens: make([]store.Token, n)})
		}
		assert.Equal(t, c.want, fitting(waiting), fmt.Sprint(c.tokens))
	}
}
